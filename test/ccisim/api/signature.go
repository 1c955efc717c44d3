package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// The names of a signature. Source: the vendor's developer guide, "AK/SK signing and authentication algorithm".
const (
	signatureAlgorithm = "SDK-HMAC-SHA256"
	headerDate         = "X-Sdk-Date"
	headerContentHash  = "X-Sdk-Content-Sha256"
	dateFormat         = "20060102T150405Z"
	unsignedPayload    = "UNSIGNED-PAYLOAD"
)

// Signature returns the signature of a request under the headers that the client says it has signed. The date is that
// of the request.
//
// It is written from the public description of the algorithm, not with the vendor's signer, which the clients use: an
// error that both sides share would otherwise never show.
func Signature(r *http.Request, body []byte, signed []string, secretKey string) (string, error) {
	canonical, err := canonicalRequest(r, body, signed)
	if err != nil {
		return "", err
	}
	toSign := signatureAlgorithm + "\n" + r.Header.Get(headerDate) + "\n" + hexHash([]byte(canonical))
	mac := hmac.New(sha256.New, []byte(secretKey))
	mac.Write([]byte(toSign))
	return hex.EncodeToString(mac.Sum(nil)), nil
}

// canonicalRequest returns the one form of a request that client and service both hash.
func canonicalRequest(r *http.Request, body []byte, signed []string) (string, error) {
	path, err := canonicalPath(r.URL.EscapedPath())
	if err != nil {
		return "", err
	}
	query, err := canonicalQuery(r.URL.RawQuery)
	if err != nil {
		return "", err
	}
	headers, names := canonicalHeaders(r, signed)
	return strings.Join([]string{r.Method, path, query, headers, names, payloadHash(r, body)}, "\n"), nil
}

// canonicalPath encodes each segment, and ends with a slash, also if the path of the request does not.
func canonicalPath(escaped string) (string, error) {
	segments := strings.Split(escaped, "/")
	for i, segment := range segments {
		plain, err := url.PathUnescape(segment)
		if err != nil {
			return "", fmt.Errorf("decoding the path: %w", err)
		}
		segments[i] = percentEncode(plain)
	}
	path := strings.Join(segments, "/")
	if !strings.HasSuffix(path, "/") {
		path += "/"
	}
	return path, nil
}

// canonicalQuery sorts the parameters by name, and those of one name by value. A parameter without a value gets "=".
func canonicalQuery(raw string) (string, error) {
	var pairs [][2]string
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		plainName, err := url.QueryUnescape(name)
		if err != nil {
			return "", fmt.Errorf("decoding the query: %w", err)
		}
		plainValue, err := url.QueryUnescape(value)
		if err != nil {
			return "", fmt.Errorf("decoding the query: %w", err)
		}
		pairs = append(pairs, [2]string{plainName, plainValue})
	}
	slices.SortFunc(pairs, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	encoded := make([]string, 0, len(pairs))
	for _, pair := range pairs {
		encoded = append(encoded, percentEncode(pair[0])+"="+percentEncode(pair[1]))
	}
	return strings.Join(encoded, "&"), nil
}

// canonicalHeaders returns one line for each value of a signed header, and the list of the names. Both are in lower
// case and sorted. Spaces around a value do not count. A signed header that the request lacks has an empty value.
func canonicalHeaders(r *http.Request, signed []string) (lines, names string) {
	sorted := make([]string, 0, len(signed))
	for _, name := range signed {
		sorted = append(sorted, strings.ToLower(name))
	}
	slices.Sort(sorted)
	var out strings.Builder
	for _, name := range sorted {
		values := r.Header.Values(name)
		switch {
		case name == "host":
			values = []string{r.Host}
		case len(values) == 0:
			values = []string{""}
		}
		for _, value := range values {
			out.WriteString(name + ":" + strings.TrimSpace(value) + "\n")
		}
	}
	return out.String(), strings.Join(sorted, ";")
}

// payloadHash returns the hash that the client names, or the hash of the body. Checking a named hash against the body
// is left to the caller.
func payloadHash(r *http.Request, body []byte) string {
	if named := r.Header.Get(headerContentHash); named != "" {
		return named
	}
	return hexHash(body)
}

func hexHash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// percentEncode encodes everything but the unreserved characters of RFC 3986, each byte as % and two upper-case digits.
func percentEncode(text string) string {
	const digits, unreserved = "0123456789ABCDEF", "-_.~"
	var out strings.Builder
	for _, b := range []byte(text) {
		switch {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', strings.IndexByte(unreserved, b) >= 0:
			out.WriteByte(b)
		default:
			out.WriteByte('%')
			out.WriteByte(digits[b>>4])
			out.WriteByte(digits[b&15])
		}
	}
	return out.String()
}

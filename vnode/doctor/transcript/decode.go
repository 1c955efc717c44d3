package transcript

import (
	"encoding/base64"
	"encoding/hex"
	"html"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxEncodings is how many encodings, one inside the other, are undone.
const maxEncodings = 4

// decodings undo the encodings that a service, a gateway or a proxy may apply to what it quotes. Each returns the text
// as it is if there is nothing to undo.
var decodings = []func(string) string{decodeEscapes, decodeURL, html.UnescapeString}

// escapes are those of texts in JSON and in the languages of servers.
var escapes = regexp.MustCompile(`\\(?:u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|[/"'\\])`)

func decodeEscapes(text string) string {
	return escapes.ReplaceAllStringFunc(text, func(escape string) string {
		if code, err := strconv.ParseUint(escape[2:], 16, 16); err == nil && len(escape) > 2 {
			return string(rune(code))
		}
		return escape[1:]
	})
}

var percent = regexp.MustCompile(`(?:%[0-9a-fA-F]{2})+`)

func decodeURL(text string) string {
	return percent.ReplaceAllStringFunc(text, func(code string) string {
		if decoded, err := url.PathUnescape(code); err == nil {
			return decoded
		}
		return code
	})
}

// encoded matches runs that may be base64 or hex.
var encoded = regexp.MustCompile(`[A-Za-z0-9+/_-]{16,}={0,2}`)

// decodeRun decodes a run of base64 or hex. It returns false if that gives no text.
func decodeRun(run string) (string, bool) {
	trimmed := strings.TrimRight(run, "=")
	for _, decode := range []func(string) ([]byte, error){
		hex.DecodeString, base64.RawStdEncoding.DecodeString, base64.RawURLEncoding.DecodeString,
	} {
		if data, err := decode(trimmed); err == nil && isText(string(data)) {
			return string(data), true
		}
	}
	return "", false
}

// isText reports whether a text is valid and has no control characters but white space and zeros, which end the names
// in continue tokens.
func isText(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(c rune) bool {
		return !unicode.IsPrint(c) && !unicode.IsSpace(c) && c != 0
	})
}

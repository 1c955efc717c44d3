package transcript

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// minEncoded is the length from which a value is also searched for inside longer words and in other encodings. Shorter
// values occur there by chance.
const minEncoded = 6

// forms returns a value in all encodings in which it can occur. Inside a longer text in base64 it has one of three
// forms, depending on where it begins. What decodings undo is not among them.
func forms(value string) []string {
	all := []string{value, url.QueryEscape(value), url.PathEscape(value)}
	if quoted, err := json.Marshal(value); err == nil {
		all = append(all, strings.Trim(string(quoted), `"`))
	}
	if len(value) < minEncoded {
		return all
	}
	all = append(all, hex.EncodeToString([]byte(value)))
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			text := encoding.EncodeToString(append(make([]byte, before), value...))
			// The first and the last characters depend on the neighbors too.
			begin := []int{0, 2, 3}[before]
			if (before+len(value))%3 != 0 {
				text = text[:len(text)-1]
			}
			all = append(all, text[begin:])
		}
	}
	return all
}

// words are names that identify no account because requests and answers consist of them. An account with the name cci
// would otherwise change every path.
var words = strings.Fields(`
	account accounts action active admin agency annotations answer apis apiversion auth cci code command config
	configmap configmaps container containers data default delete docker error errors event events exec get header
	image iam items json key kind kubernetes labels limits list log main message metadata method name namespace
	namespaces network networks opaque path pending persistentvolumes phase pod pods post project query ready reason
	request requests resource resources root running secret secrets service services signature signedheaders spec
	spillway state status step stream string subnet subnets sys text token true false type uid user v1 v2 value vpc
	watch yangtse cn-north-4 latest library busybox`)

// isOrdinary reports whether a value is a word of requests and answers.
func isOrdinary(value string) bool { return slices.Contains(words, strings.ToLower(value)) }

// form is one encoding of a known value.
type form struct {
	// text is in lower case.
	text, placeholder string
	// whole: it counts only if no letter or digit is next to it.
	whole bool
}

// matcher finds known values, whatever their case is.
type matcher struct {
	// byFirst are the forms by their first byte, the longest first.
	byFirst map[byte][]form
}

// newMatcher returns a matcher of values, which have placeholders.
func newMatcher(placeholders map[string]string) *matcher {
	m := &matcher{byFirst: map[byte][]form{}}
	seen := map[string]bool{}
	// The same form of two values gets the placeholder of the first.
	for _, value := range slices.Sorted(maps.Keys(placeholders)) {
		whole := len(value) < minEncoded ||
			slices.ContainsFunc(words, func(word string) bool { return strings.Contains(word, strings.ToLower(value)) })
		for _, text := range forms(value) {
			text = lower(text)
			if !seen[text] {
				seen[text] = true
				m.byFirst[text[0]] = append(m.byFirst[text[0]], form{text, placeholders[value], whole})
			}
		}
	}
	for _, list := range m.byFirst {
		slices.SortFunc(list, func(a, b form) int { return cmp.Compare(len(b.text), len(a.text)) })
	}
	return m
}

// lower returns a text with its ASCII letters in lower case: all other bytes keep their places.
func lower(text string) string {
	out := []byte(text)
	for i, c := range out {
		if c >= 'A' && c <= 'Z' {
			out[i] = c + 'a' - 'A'
		}
	}
	return string(out)
}

// replace replaces all known values of a text.
func (m *matcher) replace(text string) string {
	lowered := lower(text)
	var out strings.Builder
	for i := 0; i < len(text); {
		found := m.at(lowered, i)
		if found == nil {
			out.WriteByte(text[i])
			i++
			continue
		}
		out.WriteString(found.placeholder)
		i += len(found.text)
	}
	return out.String()
}

// at returns the longest form that a text in lower case has at a position, nil if it has none.
func (m *matcher) at(text string, i int) *form {
	list := m.byFirst[text[i]]
	for j := range list {
		f := &list[j]
		end := i + len(f.text)
		if strings.HasPrefix(text[i:], f.text) &&
			(!f.whole || (i == 0 || !isLetterOrDigit(text[i-1])) && (end == len(text) || !isLetterOrDigit(text[end]))) {
			return f
		}
	}
	return nil
}

func isLetterOrDigit(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

// find returns the placeholder of a value that a text contains, empty if it contains none.
func (m *matcher) find(text string) string {
	lowered := lower(text)
	for i := range len(lowered) {
		if found := m.at(lowered, i); found != nil {
			return found.placeholder
		}
	}
	return ""
}

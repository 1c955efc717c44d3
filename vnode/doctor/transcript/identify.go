package transcript

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// identifying matches what identifies an account, a machine or a person by its form. The first alternative that matches
// wins: placeholder tells them apart again.
var identifying = regexp.MustCompile(strings.Join([]string{
	`-----BEGIN [^-]*-----[^-]*(?:-----END [^-]*-----)?`,
	`(?i:\b(?:https?|wss?)://[^\s"'<>\\]+)`,
	`iam::[^\s"',]+`,
	`[\w.+-]+@[\w-]+(?:\.[\w-]+)+`,
	`\beyJ[\w-]{8,}(?:\.[\w-]*)*`,
	`[A-Za-z0-9+/_-]{200,}={0,2}`,
	`(?:[0-9a-fA-F]{2}[-]){5}[0-9a-fA-F]{2}\b`,
	`[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}`,
	`[0-9a-fA-F]{32,}`,
	`[A-Z0-9]{20,}`,
	`[0-9a-fA-F]{0,4}:[0-9a-fA-F]{0,4}:[0-9a-fA-F:.]*`,
	`\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}`,
	`\b\d{1,3}-\d{1,3}-\d{1,3}-\d{1,3}\b`,
	`(?i:\b(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9])?\.)+(?:` + topLevels + `)\b)`,
}, "|"))

// topLevels are the last labels of names that are hidden. Paths of fields and keys, such as spec.containers, do not end
// in them.
const topLevels = `com|net|org|cn|io|eu|hk|sg|tr|za|br|mx|th|ru|de|fr|uk|us|jp|kr|in|id|my|ae|sa|cl|pe|ar|` +
	`co|dev|app|cloud|biz|info|edu|gov|xyz|site|online|tech|shop|` +
	`local|localdomain|internal|intern|corp|lan|intra|intranet|home|private|arpa`

// assigned matches a value that follows the name of a secret, such as password=x, and credentials of HTTP.
var assigned = regexp.MustCompile(`(?i)((?:password|passwd|secret|token|api-?key|access-?key|secret-?key|` +
	`private-?key|client-key-data|certificate-data|certificate-authority-data|cookie|authorization|signature)` +
	`["']?\s*[:=]\s*["']?(?:(?:bearer|basic)\s+)?|\b(?:bearer|basic)\s+)([^\s"',;&<>\\(][^\s"',;&<>\\]{3,})`)

// public are the ends of names that are those of APIs and not of machines of an account.
var public = []string{
	"k8s.io", "kubernetes.io", "cci.io", "yangtse.io", "openvessel.io", "spillway.io", "docker.io", "docker.com",
	"kubernetes.svc.cluster.local",
}

// service matches the hosts of the vendor's services. Those of buckets and others that users name are hidden.
var service = regexp.MustCompile(
	`^(?:cci|iam|vpc|swr|swr-api|obs|console|support|www)(?:\.[a-z]+-[a-z]+-\d+)?\.(?:my)?huaweicloud\.(?:com|eu|cn)$`)

func isPublic(host string) bool {
	host = strings.ToLower(host)
	return service.MatchString(host) || slices.ContainsFunc(public, func(end string) bool {
		return host == end || strings.HasSuffix(host, "."+end)
	})
}

var (
	clockTime   = regexp.MustCompile(`^\d{1,2}:\d{2}:\d{2}(?:\.\d*)?$`)
	uuid        = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-`)
	hexadecimal = regexp.MustCompile(`^[0-9a-fA-F]{32,}$`)
	upperCase   = regexp.MustCompile(`^[A-Z0-9]{20,}$`)
	dashed      = regexp.MustCompile(`^(\d{1,3})-(\d{1,3})-(\d{1,3})-(\d{1,3})$`)
)

// placeholder returns a value of the same form, the same one for the same value.
func (r *Redactor) placeholder(value string) string {
	if known := r.found[value]; known != "" {
		return known
	}
	if r.issued[value] {
		return value // It is a placeholder itself.
	}
	out := r.newPlaceholder(value)
	if out != value {
		r.found[value], r.issued[out] = out, true
	}
	return out
}

func (r *Redactor) newPlaceholder(value string) string {
	n := len(r.found) + 1
	switch {
	case strings.HasPrefix(value, "-----BEGIN "):
		return leftOut
	case strings.Contains(value, "://"):
		return r.url(value)
	case strings.HasPrefix(value, "iam::"):
		return fmt.Sprintf("iam::account-%d", n)
	case strings.Contains(value, "@"):
		return fmt.Sprintf("user-%d@example", n)
	case uuid.MatchString(value):
		return fmt.Sprintf("00000000-0000-4000-8000-%012d", n)
	case len(value) < 200 && hexadecimal.MatchString(value):
		return fmt.Sprintf("%0*d", len(value), n)
	case len(value) < 200 && upperCase.MatchString(value):
		return fmt.Sprintf("ACCESSKEY%0*d", len(value)-len("ACCESSKEY"), n)
	case strings.Count(value, ":") >= 2:
		return colons(value, n)
	case dashed.MatchString(value):
		return dashes(value, n)
	}
	if address, err := netip.ParseAddr(value); err == nil {
		return addressOf(address, value, n)
	}
	if i := strings.LastIndexByte(value, '.'); i > 0 && !strings.HasPrefix(value, "eyJ") {
		if strings.ContainsAny(value[i+1:], "0123456789") || isPublic(value) {
			return value // A version with four parts, or a name of an API.
		}
		return fmt.Sprintf("host-%d.example", n)
	}
	return leftOut
}

// addressOf returns a placeholder of an address. 198.18.0.0/15 is for tests (RFC 2544), 2001:db8::/32 for documents
// (RFC 3849).
func addressOf(address netip.Addr, value string, n int) string {
	switch {
	case address.IsLoopback() || address.IsUnspecified():
		return value
	case address.Is4():
		return fmt.Sprintf("198.18.%d.%d", n/250%250, n%250+1)
	}
	return fmt.Sprintf("2001:db8::%x", n)
}

// colons returns a placeholder of an IPv6 address, of a MAC address, or of a part of one. A time stays.
func colons(value string, n int) string {
	text := strings.TrimRight(value, ".")
	if clockTime.MatchString(text) {
		return value
	}
	if address, err := netip.ParseAddr(text); err == nil {
		return addressOf(address, value, n)
	}
	if address, err := netip.ParseAddr(strings.TrimSuffix(text, ":")); err == nil { // Such as in "fd00::17: refused".
		return addressOf(address, strings.TrimSuffix(text, ":"), n) + ":"
	}
	if _, err := net.ParseMAC(text); err == nil {
		return fmt.Sprintf("02:00:00:00:%02x:%02x", n>>8&0xff, n&0xff)
	}
	if strings.Trim(text, ":.") == "" || strings.HasPrefix(text, "::") && len(text) < 4 {
		return value // Punctuation.
	}
	return leftOut
}

// dashes returns a placeholder of an IPv4 address in a name, such as in ip-10-0-1-7. Other numbers stay.
func dashes(value string, n int) string {
	if _, err := netip.ParseAddr(strings.ReplaceAll(value, "-", ".")); err != nil {
		return value
	}
	return fmt.Sprintf("198-18-%d-%d", n/250%250, n%250+1)
}

// url returns a URL without its user and its query, and with placeholders in the rest.
func (r *Redactor) url(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return leftOut
	}
	hidden := ""
	if u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		hidden = leftOut
	}
	host := u.Hostname()
	if net.ParseIP(host) != nil || strings.Contains(host, ".") {
		host = identifying.ReplaceAllStringFunc(host, r.placeholder)
	} else if host != "" && host != "localhost" && !r.isPlaceholder(host) {
		host = r.numbered(host, "host-%d.example")
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port := u.Port(); port != "" {
		host += ":" + port
	}
	return u.Scheme + "://" + host + identifying.ReplaceAllStringFunc(u.Path, r.placeholder) + hidden
}

// numbered returns a placeholder of a form for a value, the same one for the same value.
func (r *Redactor) numbered(value, format string) string {
	if known := r.found[value]; known != "" {
		return known
	}
	if r.issued[value] {
		return value
	}
	out := fmt.Sprintf(format, len(r.found)+1)
	r.found[value], r.issued[out] = out, true
	return out
}

// isPlaceholder reports whether a text is, or begins with, a placeholder of a known value.
func (r *Redactor) isPlaceholder(text string) bool {
	for _, placeholder := range r.known {
		if strings.HasPrefix(strings.ToUpper(text), placeholder) {
			return true
		}
	}
	return r.issued[text]
}

package ccisim

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxSavedLists is how many lists may be under way in pages before the oldest expires.
const maxSavedLists = 64

// savedList is a list that was begun with a limit: its later pages come from the same moment as its first.
type savedList struct {
	version uint64
	entries []*entry
}

// savedLists are the lists under way. Sim.mu guards it.
type savedLists struct {
	last  int
	byID  map[int]*savedList
	order []int
}

func newSavedLists() *savedLists { return &savedLists{byID: map[int]*savedList{}} }

func (l *savedLists) save(list *savedList) int {
	l.last++
	l.byID[l.last] = list
	l.order = append(l.order, l.last)
	if len(l.order) > maxSavedLists {
		delete(l.byID, l.order[0])
		l.order = l.order[1:]
	}
	return l.last
}

// forget makes all lists under way expire.
func (l *savedLists) forget() { l.byID, l.order = map[int]*savedList{}, nil }

// continueToken is what a continue parameter holds.
type continueToken struct {
	List  int `json:"list"`
	Start int `json:"start"`
}

func (t continueToken) encode() string { return base64.RawURLEncoding.EncodeToString(mustEncode(t)) }

func parseContinue(text string) (continueToken, *apiError) {
	var token continueToken
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(raw, &token)
	}
	if err != nil || token.Start < 0 {
		return token, badRequest("", "continue key is not valid: %q", text)
	}
	return token, nil
}

// serveList answers a list, in pages when the caller says so.
func (s *Sim) serveList(c *call) (*reply, *apiError) {
	query := c.r.URL.Query()
	chosen, refusal := parseSelector(c.res, c.namespace, query)
	if refusal != nil {
		return nil, refusal
	}
	limit, refusal := countParameter(query.Get("limit"), "limit")
	if refusal != nil {
		return nil, refusal
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if refusal := s.checkNamespace(c); refusal != nil {
		return nil, refusal
	}
	if s.Policies().IgnoreLimit {
		return s.page(c.res, s.takeList(c.res, chosen), continueToken{}, 0), nil
	}
	if text := query.Get("continue"); text != "" {
		return s.continueList(c.res, text, limit)
	}
	if refusal := s.checkListVersion(query.Get("resourceVersion"), query.Get("resourceVersionMatch")); refusal != nil {
		return nil, refusal
	}
	list := s.takeList(c.res, chosen)
	token := continueToken{}
	if limit > 0 && len(list.entries) > int(limit) {
		token.List = s.lists.save(list)
	}
	return s.page(c.res, list, token, int(limit)), nil
}

func (s *Sim) continueList(res *resource, text string, limit int64) (*reply, *apiError) {
	token, refusal := parseContinue(text)
	if refusal != nil {
		return nil, refusal
	}
	list := s.lists.byID[token.List]
	if list == nil || token.Start > len(list.entries) {
		return nil, expired("The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.")
	}
	return s.page(res, list, token, int(limit)), nil
}

// takeList takes what is selected at this moment. Holds mu.
func (s *Sim) takeList(res *resource, chosen *selector) *savedList {
	out := &savedList{version: s.store.version}
	for _, e := range s.store.tables[res].sorted(chosen.namespace) {
		if chosen.matchesObject(e.obj) {
			out.entries = append(out.entries, e)
		}
	}
	return out
}

// page encodes a page of a list from the encodings of its items.
func (s *Sim) page(res *resource, list *savedList, token continueToken, limit int) *reply {
	end := len(list.entries)
	meta := metav1.ListMeta{ResourceVersion: strconv.FormatUint(list.version, 10)}
	if limit > 0 && token.Start+limit < end {
		end = token.Start + limit
		left := int64(len(list.entries) - end)
		meta.RemainingItemCount = &left
		meta.Continue = continueToken{List: token.List, Start: end}.encode()
	}
	var out bytes.Buffer
	out.WriteString(`{"apiVersion":"` + s.apiVersion(res) + `","kind":"` + res.kind + `List","metadata":`)
	out.Write(mustEncode(meta))
	out.WriteString(`,"items":[`)
	for i, e := range list.entries[token.Start:end] {
		if i > 0 {
			out.WriteByte(',')
		}
		out.Write(e.raw)
	}
	out.WriteString("]}\n")
	return jsonReply(http.StatusOK, out.Bytes())
}

// checkListVersion: the store answers with its newest state, which is not older than any version but one from the future, and is exactly
// one version. Holds mu.
func (s *Sim) checkListVersion(text, match string) *apiError {
	asked, refusal := versionParameter(text)
	switch {
	case refusal != nil:
		return refusal
	case asked > s.store.version:
		return tooLargeResourceVersion(asked, s.store.version)
	case match == string(metav1.ResourceVersionMatchExact) && asked != s.store.version:
		return expired("The resourceVersion for the provided list is too old.")
	default:
		return nil
	}
}

func countParameter(text, name string) (int64, *apiError) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, badRequest("", "%s: %q is not a number of 0 or more", name, text)
	}
	return n, nil
}

func versionParameter(text string) (uint64, *apiError) {
	if text == "" {
		return 0, nil
	}
	v, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, badRequest("", "invalid resource version %q: %v", text, err)
	}
	return v, nil
}

package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// continueToken is the content of a continue parameter.
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

// serveList returns a list, in pages if the client sets a limit.
func (s *Server) serveList(c *call) (*reply, *apiError) {
	query := c.r.URL.Query()
	selected, refusal := parseSelector(c.res, c.namespace, query)
	if refusal != nil {
		return nil, refusal
	}
	limit, refusal := countParameter(query.Get("limit"), "limit")
	if refusal != nil {
		return nil, refusal
	}
	return s.update(func(tx store.Tx) (*reply, *apiError) {
		if refusal := checkNamespace(tx.View, c); refusal != nil {
			return nil, refusal
		}
		if s.cfg.Faults.Policies().IgnoreLimit {
			return s.page(c.res, takeList(tx.View, c.res, selected), continueToken{}, 0), nil
		}
		if text := query.Get("continue"); text != "" {
			return s.continueList(tx.View, c.res, text, limit)
		}
		refusal := checkListVersion(tx.View, query.Get("resourceVersion"), query.Get("resourceVersionMatch"))
		if refusal != nil {
			return nil, refusal
		}
		list := takeList(tx.View, c.res, selected)
		token := continueToken{}
		if limit > 0 && len(list.Entries) > int(limit) {
			token.List = tx.SaveList(list)
		}
		return s.page(c.res, list, token, int(limit)), nil
	})
}

func (s *Server) continueList(v store.View, res *objects.Resource, text string, limit int64) (*reply, *apiError) {
	token, refusal := parseContinue(text)
	if refusal != nil {
		return nil, refusal
	}
	list := v.SavedList(token.List)
	if list == nil || token.Start > len(list.Entries) {
		return nil, expired("The provided continue parameter is too old to display a consistent list result. " +
			"You can start a new list without the continue parameter.")
	}
	return s.page(res, list, token, int(limit)), nil
}

// takeList returns the selected objects.
func takeList(v store.View, res *objects.Resource, selected *selector) *store.List {
	return v.List(res, selected.namespace, selected.matchesObject)
}

// page encodes a page of a list from the encodings of its items.
func (s *Server) page(res *objects.Resource, list *store.List, token continueToken, limit int) *reply {
	end := len(list.Entries)
	meta := metav1.ListMeta{ResourceVersion: strconv.FormatUint(list.Version, 10)}
	if limit > 0 && token.Start+limit < end {
		end = token.Start + limit
		left := int64(len(list.Entries) - end)
		meta.RemainingItemCount = &left
		meta.Continue = continueToken{List: token.List, Start: end}.encode()
	}
	var out bytes.Buffer
	out.WriteString(`{"apiVersion":"` + s.apiVersion(res) + `","kind":"` + res.Kind + `List","metadata":`)
	out.Write(mustEncode(meta))
	out.WriteString(`,"items":[`)
	for i, e := range list.Entries[token.Start:end] {
		if i > 0 {
			out.WriteByte(',')
		}
		out.Write(e.Raw)
	}
	out.WriteString("]}\n")
	return jsonReply(http.StatusOK, out.Bytes())
}

// checkListVersion checks the version of a list. The store always returns its newest state, which is not older than any
// version except a future one, and which is exactly one version.
func checkListVersion(v store.View, text, match string) *apiError {
	requested, refusal := versionParameter(text)
	switch {
	case refusal != nil:
		return refusal
	case requested > v.Version():
		return tooLargeResourceVersion(requested, v.Version())
	case match == string(metav1.ResourceVersionMatchExact) && requested != v.Version():
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

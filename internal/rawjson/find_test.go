package rawjson

import (
	"encoding/json"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFindReturnsWhatTheDecoderFinds(t *testing.T) {
	const text = ` { "a" : {"b": [1, {"c":"x,]}\"" } , [], true ], "e":null},"\u0064":-1.5e3, "a/b" : {"":"é"},"é":2,` +
		`"twice":1,"twice":{"z":0}, "empty":{} } `
	for name, test := range map[string]struct {
		path []string
		want string
	}{
		"nothing":                   {nil, text[1 : len(text)-1]},
		"an object":                 {[]string{"a"}, `{"b": [1, {"c":"x,]}\"" } , [], true ], "e":null}`},
		"a list":                    {[]string{"a", "b"}, `[1, {"c":"x,]}\"" } , [], true ]`},
		"a number in a list":        {[]string{"a", "b", "0"}, `1`},
		"a string":                  {[]string{"a", "b", "1", "c"}, `"x,]}\""`},
		"an empty list":             {[]string{"a", "b", "2"}, `[]`},
		"the last element":          {[]string{"a", "b", "3"}, `true`},
		"null":                      {[]string{"a", "e"}, `null`},
		"a name with an escape":     {[]string{"d"}, `-1.5e3`},
		"a name with a slash":       {[]string{"a/b", ""}, `"é"`},
		"a name that is not ASCII":  {[]string{"é"}, `2`},
		"the last of two":           {[]string{"twice", "z"}, `0`},
		"an empty object":           {[]string{"empty"}, `{}`},
		"a member that is missing":  {[]string{"b"}, ``},
		"an element beyond the end": {[]string{"a", "b", "4"}, ``},
		"an index with a sign":      {[]string{"a", "b", "-1"}, ``},
		"an index with a zero":      {[]string{"a", "b", "01"}, ``},
		"a member of a number":      {[]string{"d", "a"}, ``},
		"another case":              {[]string{"A"}, ``},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.want, string(Find([]byte(text), test.path...)))
		})
	}
}

func TestCutLeavesNullInPlaceOfTheValue(t *testing.T) {
	for text, want := range map[string][2]string{
		`{"request":{"object":{"a":[1,2]},"b":1}}`:   {`{"a":[1,2]}`, `{"request":{"object":null,"b":1}}`},
		` { "request" : { "object" : "text" } } `:    {`"text"`, ` { "request" : { "object" : null } } `},
		`{"request":{"object":1,"object":2},"c":[]}`: {`2`, `{"request":{"object":1,"object":null},"c":[]}`},
		`{"request":{"object":null}}`:                {``, `{"request":{"object":null}}`},
		`{"request":{"OBJECT":1}}`:                   {``, `{"request":{"OBJECT":1}}`},
		`{"object":1}`:                               {``, `{"object":1}`},
		`[]`:                                         {``, `[]`},
		``:                                           {``, ``},
	} {
		value, rest := Cut([]byte(text), "request", "object")
		assert.Equal(t, want, [2]string{string(value), string(rest)})
	}
}

func TestLen(t *testing.T) {
	for text, want := range map[string]int{
		`[]`: 0, ` [ ] `: 0, `[1]`: 1, `[[1,2],{"a":[3,4]} , "a,b"]`: 3, `{}`: 0, `{"a":[1,2],"b":{"c":1,"d":2}}`: 2,
		`"a,b"`: 0, `12`: 0, `null`: 0,
	} {
		assert.Equal(t, want, Len([]byte(text)), text)
	}
}

// FuzzFind compares with the decoder, for every value of a text.
func FuzzFind(f *testing.F) {
	for _, text := range []string{
		`{"a":{"b":[1,{"c":"x"}],"a":1},"é\n":[]}`, `[[],[{}],"",null,-1e5]`, `1`, `{"a":1,"a":{"b":2}}`,
		"{\"\xff\":1}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if !json.Valid(text) {
			value, rest := Cut(text, "a", "0")
			assert.False(t, json.Valid(value) && json.Valid(rest), "the parts of %q are valid", text)
			Len(text)
			return
		}
		compare(t, text)
	})
}

func compare(t *testing.T, text []byte) {
	t.Helper()
	var members map[string]json.RawMessage
	var elements []json.RawMessage
	switch text[skip(text, 0)] {
	case '{':
		require.NoError(t, json.Unmarshal(text, &members))
	case '[':
		require.NoError(t, json.Unmarshal(text, &elements))
		assert.Equal(t, len(elements), Len(text))
	}
	for i, element := range elements {
		found := Find(text, strconv.Itoa(i))
		require.JSONEq(t, string(element), string(found))
		compare(t, found)
	}
	for name, member := range members {
		found := Find(text, name)
		require.JSONEq(t, string(member), string(found))
		compare(t, found)
	}
}

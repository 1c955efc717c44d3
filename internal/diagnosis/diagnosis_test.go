package diagnosis

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var kinds = Kinds{
	{"XX101", Error, "a program is missing", "Nothing is done.", "Install it: `kubectl -n NAMESPACE apply -f NAME`."},
	{"XX102", Warning, "a program is slow", "Things take time.", "Wait."},
	{"XX103", Info, "a program is old", "That is no problem.", ""},
}

func TestAFindingHasTheTextsOfItsKind(t *testing.T) {
	got := kinds.Found("XX101", "%d of %d run", 0, 2).Filled("NAMESPACE", "shop", "NAME", "cart")
	assert.Equal(t, Finding{
		Code: "XX101", Severity: Error, Title: "a program is missing", Message: "0 of 2 run", Meaning: "Nothing is done.",
		Mend: "Install it: `kubectl -n shop apply -f cart`.",
	}, got)
	assert.Equal(t, "Install it: `kubectl -n NAMESPACE apply -f NAME`.", kinds[0].Mend, "the kind is unchanged")
}

func TestACodeWithoutADescriptionIsAnError(t *testing.T) {
	assert.Equal(t, Finding{Code: "XX999", Severity: Error, Message: "unknown"}, kinds.Found("XX999", "unknown"))
}

func TestFindingsAreCountedAndSorted(t *testing.T) {
	all := Findings{
		kinds.Found("XX103", "1"), kinds.Found("XX102", "2"), kinds.Found("XX101", "3"), kinds.Found("XX102", "4"),
		kinds.Found("XX101", "5"),
	}
	all.Sort()
	var order []string
	for _, f := range all {
		order = append(order, f.Message)
	}
	assert.Equal(t, []string{"3", "5", "2", "4", "1"}, order, "those of one severity keep their order")
	assert.Equal(t, "Errors: 2, warnings: 2, facts: 1.\n", all.Counts())
	require.EqualError(t, all.Err(), "errors that the doctor has found: 2")
	require.NoError(t, all[2:].Err(), "warnings are no errors")
}

func TestTheTextOfAFindingHasLineBreaks(t *testing.T) {
	f := kinds.Found("XX102", "%s", strings.Repeat("wörd ", 40))
	f.Object = "Node a"
	lines := strings.Split(f.Text(), "\n")
	assert.Equal(t, []string{
		"WARNING XX102 a program is slow (Node a)",
		"  " + strings.TrimSpace(strings.Repeat("wörd ", 19)),
		"  " + strings.TrimSpace(strings.Repeat("wörd ", 19)),
		"  wörd wörd",
		"  Things take time.",
		"  -> Wait.",
		"",
	}, lines)

	word := strings.Repeat("x", 2*Width)
	assert.Contains(t, kinds.Found("XX102", "a %s b", word).Text(), "\n  a\n  "+word+"\n  b\n", "words are not broken")

	command := "`kubectl -n spillway-system " + strings.TrimSpace(strings.Repeat("word ", 20)) + "`"
	assert.Contains(t, kinds.Found("XX102", "Run %s.", command).Text(), "\n  Run\n  "+command+".\n",
		"a command can be pasted")
}

func TestTheTextLeavesOutWhatAFindingDoesNotHave(t *testing.T) {
	f := kinds.Found("XX103", "seen")
	assert.Equal(t, "INFO XX103 a program is old\n  seen\n  That is no problem.\n", f.Text())
	f.Check = "age"
	assert.Equal(t, "INFO XX103 a program is old (age)\n  seen\n  That is no problem.\n", f.Text())
	text, err := json.Marshal(f)
	require.NoError(t, err)
	assert.JSONEq(t, `{"code": "XX103", "severity": "info", "title": "a program is old", "message": "seen",
		"meaning": "That is no problem.", "check": "age"}`, string(text))
}

package page

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReplaceSectionKeepsTheTextAround(t *testing.T) {
	const text = "before\n<!-- measured: slot -->\nold\n<!-- end of slot -->\nafter\n"
	for name, test := range map[string]struct {
		text, want, err string
	}{
		"a section with figures": {
			text: text, want: "before\n<!-- measured: slot -->\n\nnew\n\n<!-- end of slot -->\nafter\n",
		},
		"a section that is new": {
			text: "<!-- measured: slot -->\n<!-- end of slot -->\n",
			want: "<!-- measured: slot -->\n\nnew\n\n<!-- end of slot -->\n",
		},
		"no section":        {text: "before\n", err: "must occur once each"},
		"the section twice": {text: text + text, err: "must occur once each"},
		"the end at the top": {
			text: "<!-- end of slot -->\n<!-- measured: slot -->\n",
			err:  `"<!-- end of slot -->" must come after "<!-- measured: slot -->"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := replaceSection(test.text, "slot", "new\n")
			if test.err != "" {
				assert.ErrorContains(t, err, test.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
			again, err := replaceSection(got, "slot", "new\n")
			require.NoError(t, err)
			assert.Equal(t, got, again)
		})
	}
}

func TestAPageWithoutASectionIsUnchanged(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	const content = "<!-- measured: machine -->\n<!-- end of machine -->\n"
	require.NoError(t, os.WriteFile(page, []byte(content), 0o644))
	require.ErrorContains(t, Rewrite(page, map[string]string{"machine": "new", "slot": "new"}), "rewriting "+page)
	got, err := os.ReadFile(page)
	require.NoError(t, err)
	assert.Equal(t, content, string(got))
}

func TestOtherSectionsKeepTheirFigures(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	const before = "<!-- measured: slot -->\nold\n<!-- end of slot -->\n" +
		"<!-- measured: creation -->\nold\n<!-- end of creation -->\n"
	require.NoError(t, os.WriteFile(page, []byte(before), 0o644))
	require.NoError(t, Rewrite(page, map[string]string{"creation": "new\n"}))
	got, err := os.ReadFile(page)
	require.NoError(t, err)
	const want = "<!-- measured: slot -->\nold\n<!-- end of slot -->\n" +
		"<!-- measured: creation -->\n\nnew\n\n<!-- end of creation -->\n"
	assert.Equal(t, want, string(got))
}

func TestFillBreaksLines(t *testing.T) {
	for name, test := range map[string]struct {
		paragraph, want string
	}{
		"a short paragraph":       {"one two", "one two\n"},
		"nothing":                 {"", "\n"},
		"other spaces":            {" one\n two\t", "one two\n"},
		"a line of 120 columns":   {strings.Repeat("a", 118) + " b", strings.Repeat("a", 118) + " b\n"},
		"a line of 121 columns":   {strings.Repeat("a", 119) + " b", strings.Repeat("a", 119) + "\nb\n"},
		"columns and not bytes":   {strings.Repeat("÷", 118) + " b", strings.Repeat("÷", 118) + " b\n"},
		"a word that is too long": {"a " + strings.Repeat("b", 130) + " c", "a\n" + strings.Repeat("b", 130) + "\nc\n"},
		"more lines than one": {
			strings.Repeat("a", 70) + " " + strings.Repeat("b", 70) + " c",
			strings.Repeat("a", 70) + "\n" + strings.Repeat("b", 70) + " c\n",
		},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, test.want, Fill(test.paragraph)) })
	}
}

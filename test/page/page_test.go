package page

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReplaceSectionKeepsWhatStandsAround(t *testing.T) {
	const text = "before\n<!-- measured: slot -->\nold\n<!-- end of slot -->\nafter\n"
	for name, test := range map[string]struct {
		text, want, fault string
	}{
		"a section with figures": {
			text: text, want: "before\n<!-- measured: slot -->\n\nnew\n\n<!-- end of slot -->\nafter\n",
		},
		"a section that is new": {
			text: "<!-- measured: slot -->\n<!-- end of slot -->\n",
			want: "<!-- measured: slot -->\n\nnew\n\n<!-- end of slot -->\n",
		},
		"no section":        {text: "before\n", fault: "must be there once each"},
		"the section twice": {text: text + text, fault: "must be there once each"},
		"the end at the top": {
			text:  "<!-- end of slot -->\n<!-- measured: slot -->\n",
			fault: `"<!-- end of slot -->" must come after "<!-- measured: slot -->"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := replaceSection(test.text, "slot", "new\n")
			if test.fault != "" {
				assert.ErrorContains(t, err, test.fault)
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

func TestDocumentThatLacksASectionIsLeftAlone(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	const content = "<!-- measured: machine -->\n<!-- end of machine -->\n"
	require.NoError(t, os.WriteFile(page, []byte(content), 0o644))
	require.ErrorContains(t, Rewrite(page, map[string]string{"machine": "new", "slot": "new"}), "rewriting "+page)
	got, err := os.ReadFile(page)
	require.NoError(t, err)
	assert.Equal(t, content, string(got))
}

func TestSectionsThatWereNotMeasuredKeepTheirFigures(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	require.NoError(t, os.WriteFile(page,
		[]byte("<!-- measured: slot -->\nold\n<!-- end of slot -->\n<!-- measured: creation -->\nold\n<!-- end of "+
			"creation -->\n"), 0o644))
	require.NoError(t, Rewrite(page, map[string]string{"creation": "new\n"}))
	got, err := os.ReadFile(page)
	require.NoError(t, err)
	assert.Equal(t, "<!-- measured: slot -->\nold\n<!-- end of slot -->\n<!-- measured: creation -->\n\nnew\n\n<!-- "+
		"end of creation -->\n", string(got))
}

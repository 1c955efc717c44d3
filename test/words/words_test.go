package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFindingsNameTheLineAndWhatToWrite(t *testing.T) {
	words, err := parse("keyed | managed | unkeyed fields\n# a comment\n\nat home | on local nodes\n")
	require.NoError(t, err)
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"a text without the words": {"a managed Pod\n", nil},
		"one word":                 {"first\na Keyed Pod\n", []string{`2: "Keyed": write managed`}},
		"two words in one line": {
			"keyed at home", []string{`1: "keyed": write managed`, `1: "at home": write on local nodes`},
		},
		"only whole words":                 {"monkeyed\n", nil},
		"a text in which it is allowed":    {"unkeyed fields\n", nil},
		"allowed and not in the same line": {"unkeyed fields keyed\n", []string{`1: "keyed": write managed`}},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, c.want, inspect([]byte(c.text), words)) })
	}
}

func TestInvalidListsAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"an entry without a replacement":  "keyed\n",
		"an entry with four fields":       "a | b | c | d\n",
		"an expression that is invalid":   "( | b\n",
		"an exception that is no pattern": "a | b | (\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(text)
			require.ErrorContains(t, err, "words.txt, line 1")
		})
	}
}

func TestTheListItselfIsValid(t *testing.T) {
	words, err := parse(list)
	require.NoError(t, err)
	assert.Greater(t, len(words), 20)
}

func TestOnlyTrackedTextIsChecked(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	write("page.md", "It stays at home.\n")
	write("CHANGELOG.md", "at home\n")
	write("sub/go.sum", "at home\n")
	write("picture", "at home \xff\n")
	write("gone.md", "at home\n")
	write("untracked.md", "at home\n")
	for _, args := range [][]string{
		{"init", "-q"}, {"add", "page.md", "CHANGELOG.md", "sub/go.sum", "picture", "gone.md"},
	} {
		command := exec.Command("git", args...)
		command.Dir = dir
		output, err := command.CombinedOutput()
		require.NoError(t, err, "%s", output)
	}
	require.NoError(t, os.Remove(filepath.Join(dir, "gone.md")))

	var out bytes.Buffer
	found, err := check(dir, &out)
	require.NoError(t, err)
	assert.Equal(t, 1, found)
	assert.Equal(t, "page.md:1: \"at home\": write on local nodes\n", out.String())
}

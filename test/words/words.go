// Command words finds words that Spillway does not use in text that people read: code, comments, messages, pages,
// charts. The list in words.txt says what to write instead. `make lint` runs it.
//
// Usage: words [DIRECTORY]. It checks the files that git tracks, prints each finding as file:line, and exits with 1 if
// there are any.
package main

import (
	"bufio"
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

//go:embed words.txt
var list string

// unchecked are paths with texts that are not ours or that must keep their form.
var unchecked = []string{
	"LICENSE", "CHANGELOG.md", "CODE_OF_CONDUCT.md", "test/words/", "go.sum",
}

func main() {
	dir := "."
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	found, err := check(dir, os.Stdout)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "words:", err)
		os.Exit(2)
	case found > 0:
		fmt.Fprintf(os.Stderr, "words: %d findings; docs/glossary.md defines the terms to use\n", found)
		os.Exit(1)
	}
}

// word is one entry of the list.
type word struct {
	pattern *regexp.Regexp
	use     string
	// except matches text in which the pattern is allowed, nil for none.
	except *regexp.Regexp
}

// parse reads a list: a regular expression, what to write instead and optionally text in which it is allowed, separated
// by " | ". The expression ignores case and matches whole words. Lines that begin with # are comments.
func parse(text string) ([]word, error) {
	var words []word
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, " | ")
		if len(fields) < 2 || len(fields) > 3 {
			return nil, fmt.Errorf("words.txt, line %d: invalid entry %q: must have two or three fields", number, line)
		}
		pattern, err := regexp.Compile(`(?i)\b(` + fields[0] + `)\b`)
		if err != nil {
			return nil, fmt.Errorf("words.txt, line %d: %w", number, err)
		}
		entry := word{pattern: pattern, use: fields[1]}
		if len(fields) == 3 {
			if entry.except, err = regexp.Compile(fields[2]); err != nil {
				return nil, fmt.Errorf("words.txt, line %d: %w", number, err)
			}
		}
		words = append(words, entry)
	}
	return words, nil
}

// check writes the findings in the tracked files of a directory and returns their number.
func check(dir string, out io.Writer) (found int, err error) {
	words, err := parse(list)
	if err != nil {
		return 0, err
	}
	files, err := tracked(dir)
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if errors.Is(err, os.ErrNotExist) { // Deleted, but not committed yet.
			continue
		}
		if err != nil {
			return found, fmt.Errorf("reading a tracked file: %w", err)
		}
		if !utf8.Valid(data) {
			continue
		}
		for _, finding := range inspect(data, words) {
			fmt.Fprintf(out, "%s:%s\n", file, finding)
			found++
		}
	}
	return found, nil
}

// tracked lists the files of a directory that git tracks and that are checked.
func tracked(dir string) ([]string, error) {
	command := exec.Command("git", "ls-files", "-z")
	command.Dir = dir
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("listing the tracked files: %w", err)
	}
	files := strings.Split(strings.TrimRight(string(output), "\x00"), "\x00")
	return slices.DeleteFunc(files, func(file string) bool {
		return slices.ContainsFunc(unchecked, func(path string) bool {
			return file == path || strings.HasSuffix(path, "/") && strings.HasPrefix(file, path) ||
				filepath.Base(file) == path
		})
	}), nil
}

// inspect returns the findings of one text, each as "LINE: word: what to write".
func inspect(data []byte, words []word) []string {
	var findings []string
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, len(data)+1)
	for number := 1; lines.Scan(); number++ {
		for _, word := range words {
			line := lines.Text()
			if word.except != nil {
				line = word.except.ReplaceAllString(line, "")
			}
			if match := word.pattern.FindString(line); match != "" {
				findings = append(findings, fmt.Sprintf("%d: %q: write %s", number, match, word.use))
			}
		}
	}
	return findings
}

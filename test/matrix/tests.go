package main

import (
	"regexp"
	"slices"
	"strings"
)

// test is a test that has ended.
type test struct {
	name   string
	passed bool
}

var testPattern = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): (\S+) `)

// parseTest reads a line of the output of a test binary with -test.v. It returns false if no test has ended there. A
// test that was skipped has not passed.
func parseTest(line string) (test, bool) {
	found := testPattern.FindStringSubmatch(line)
	if found == nil {
		return test{}, false
	}
	return test{name: found[2], passed: found[1] == "PASS"}, true
}

// count counts the tests that have no subtests, and returns the names of those that failed.
func count(ended []test) (outcome, []string) {
	var got outcome
	var failed []string
	for _, t := range ended {
		parent := slices.ContainsFunc(ended, func(other test) bool { return strings.HasPrefix(other.name, t.name+"/") })
		if !t.passed && !parent {
			failed = append(failed, t.name)
		}
		if parent || !t.passed {
			continue
		}
		got.Passed++
		if isStory(t.name) {
			got.Stories++
		}
	}
	return got, failed
}

// isStory reports whether the test plays a story.
func isStory(name string) bool {
	group, _, _ := strings.Cut(name, "/")
	return group == "TestFewerVirtualNodes" || strings.HasSuffix(group, "Stories")
}

package e2e

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/test/stories"
)

// storyNames are the names of all stories.
func storyNames() []string {
	names := []string{schedulerName, fewerVirtualNodes, services}
	all := slices.Concat(stories.All(), stories.Further(), stories.Schedulers(), stories.OwnScheduler(),
		stories.Shares(), stories.WayHome())
	for _, story := range all {
		names = append(names, story.Name)
	}
	return names
}

// docs/beside.md names the stories that try what it says.
func TestTheStoriesOfOtherSystemsExist(t *testing.T) {
	page, err := os.ReadFile("../../docs/beside.md")
	require.NoError(t, err)
	named := regexp.MustCompile("story `([^`]+)`").FindAllStringSubmatch(string(page), -1)
	require.Greater(t, len(named), 2)
	for _, name := range named {
		assert.Contains(t, storyNames(), name[1])
	}
}

// docs/moving.md names stories in the last column of its tables. Each must exist.
func TestTheStoriesOfThePageExist(t *testing.T) {
	played := storyNames()
	page, err := os.ReadFile("../../docs/moving.md")
	require.NoError(t, err)
	named := 0
	for line := range strings.Lines(string(page)) {
		columns := strings.Split(strings.TrimSpace(line), "|")
		if len(columns) != 5 {
			continue
		}
		for _, word := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(columns[3], -1) {
			assert.Contains(t, played, word[1])
			named++
		}
	}
	assert.Greater(t, named, 10)
}

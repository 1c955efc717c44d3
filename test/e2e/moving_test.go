package e2e

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/test/stories"
)

// docs/moving.md names stories in the last column of its tables. Each must exist.
func TestTheStoriesOfThePageExist(t *testing.T) {
	played := []string{schedulerName, fewerVirtualNodes}
	for _, story := range append(stories.All(), stories.Further()...) {
		played = append(played, story.Name)
	}
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

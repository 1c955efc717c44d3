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

// Every story that docs/moving.md names in the last column of a table is played here.
func TestTheStoriesOfThePageArePlayed(t *testing.T) {
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

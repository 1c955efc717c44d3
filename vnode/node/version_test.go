package node

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTheNodeShowsTheVersionOfTheAPIThatItIsBuiltFor(t *testing.T) {
	version := object(Config{Name: "virtual-node-cci-0"}).Status.NodeInfo.KubeletVersion
	assert.Regexp(t, `^v1(\.\d+\.\d+)?-spillway$`, version)
}

package cleanup

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/spillway-k8s/spillway/vnode/config"
)

func TestEachCloudNamespaceHasACommandThatCleansIt(t *testing.T) {
	c := config.Default()
	c.ClusterID, c.CCI.Namespace = "prod", "bursting"
	c.Nodes = []config.VirtualNode{{Name: "a"}, {Name: "b", SubnetIDs: []string{"b"}}}
	commands := gcCommands(c)
	assert.Len(t, commands, 2)
	assert.Contains(t, commands[0], "--cci-namespace=bursting ")
	assert.Contains(t, commands[1], "--cci-namespace=bursting-b ")
	assert.Equal(t, "bursting", c.CCI.Namespace, "the configuration is unchanged")
}

package addresses

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
)

func name(n int) types.NamespacedName {
	return types.NamespacedName{Namespace: "shop", Name: fmt.Sprintf("service-%d", n)}
}

func address(t *testing.T, table *Table, service types.NamespacedName) string {
	t.Helper()
	found, err := table.Of(service)
	require.NoError(t, err)
	owner, ok := table.Service(found)
	assert.True(t, ok)
	assert.Equal(t, service, owner)
	return found.String()
}

func TestAServiceKeepsItsAddressUntilItIsDeleted(t *testing.T) {
	table := New()
	assert.Equal(t, "127.64.0.1", address(t, table, name(1)))
	assert.Equal(t, "127.64.0.2", address(t, table, name(2)))
	assert.Equal(t, "127.64.0.1", address(t, table, name(1)))
	table.Release(name(1))
	table.Release(name(1))
	_, ok := table.Service(netip.MustParseAddr("127.64.0.1"))
	assert.False(t, ok)
	assert.Equal(t, "127.64.0.3", address(t, table, name(1)), "a Service of the same name is another one")
	assert.Equal(t, "127.64.0.4", address(t, table, name(3)))
}

func TestAddressesAreUsedAgainOnlyAfterAllOthers(t *testing.T) {
	table := New()
	table.size = 6 // Four addresses.
	for i, want := range []string{"127.64.0.1", "127.64.0.2", "127.64.0.3"} {
		assert.Equal(t, want, address(t, table, name(i)))
	}
	table.Release(name(0))
	table.Release(name(2))
	for i, want := range []string{"127.64.0.4", "127.64.0.1", "127.64.0.3"} {
		assert.Equal(t, want, address(t, table, name(10+i)))
	}
	_, err := table.Of(name(20))
	require.ErrorContains(t, err, "all addresses of the network 127.64.0.0/10 are in use")
}

func TestTheNetworkHasFourMillionAddresses(t *testing.T) {
	assert.Equal(t, uint32(1<<22), New().size)
	assert.Equal(t, "127.127.255.254", number(1<<22-2).String())
	assert.True(t, Network.Addr().IsLoopback())
}

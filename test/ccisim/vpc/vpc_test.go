package vpc

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAddressesOfTheGatewayAndOfHardware(t *testing.T) {
	assert.Equal(t, "10.246.1.1", Gateway(netip.MustParsePrefix("10.246.1.0/24")).String())
	assert.Equal(t, "02:cc:0a:f6:01:01", hardware(netip.MustParseAddr("10.246.1.1")))
}

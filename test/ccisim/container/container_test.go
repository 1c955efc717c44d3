package container

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestCapabilities(t *testing.T) {
	assert.Equal(t, unix.CAP_LAST_CAP, len(capabilities)-1)
	for name, tc := range map[string]struct {
		add, drop []string
		want      string
	}{
		"the defaults": {nil, nil, "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW " +
			"SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP"},
		"none":                     {nil, []string{"ALL"}, ""},
		"one":                      {[]string{"NET_BIND_SERVICE"}, []string{"ALL"}, "NET_BIND_SERVICE"},
		"another spelling":         {[]string{"CAP_NET_ADMIN", "net_admin"}, []string{"all"}, "NET_ADMIN"},
		"all":                      {[]string{"ALL"}, nil, strings.Join(capabilities, " ")},
		"dropped and added":        {[]string{"KILL"}, []string{"ALL", "KILL"}, "KILL"},
		"all of which some are no": {[]string{"ALL"}, capabilities[:len(capabilities)-2], "BPF CHECKPOINT_RESTORE"},
	} {
		t.Run(name, func(t *testing.T) {
			numbers, err := Capabilities(tc.add, tc.drop)
			require.NoError(t, err)
			var names []string
			for _, number := range numbers {
				names = append(names, capabilities[number])
			}
			assert.Equal(t, tc.want, strings.Join(names, " "))
		})
	}
	_, err := Capabilities([]string{"FLY"}, nil)
	assert.EqualError(t, err, `unknown capability to add "CAP_FLY"`)
	_, err = Capabilities(nil, []string{"FLY"})
	assert.EqualError(t, err, `unknown capability to drop "CAP_FLY"`)
}

func TestAProgramThatDoesNotCallInitStartsNoContainers(t *testing.T) {
	assert.EqualError(t, Check(), "its main function must call Init first")
}

package cleanup

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/spillway-k8s/spillway/vnode/config"
)

func defaultGC() *gcConfig {
	return &gcConfig{Config: *config.Default(), MinAge: 5 * time.Minute, Timeout: 5 * time.Minute}
}

func defaultUninstall() *uninstallConfig {
	return &uninstallConfig{
		Config: *config.Default(), Programs: "app.kubernetes.io/name=spillway", Cloud: true, Timeout: 4 * time.Minute,
	}
}

// AddGCFlags binds the flags of "vnode gc" with their defaults, for the reference pages.
func AddGCFlags(flags *pflag.FlagSet) { defaultGC().AddFlags(flags) }

// AddUninstallFlags binds the flags of "vnode uninstall" with their defaults, for the reference pages.
func AddUninstallFlags(flags *pflag.FlagSet) { defaultUninstall().AddFlags(flags) }

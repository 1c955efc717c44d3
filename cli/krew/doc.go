// Package krew has what publishes kubectl spillway: build.sh makes an archive for each platform and the manifest with
// which Krew, the plugin manager of kubectl, installs them. Its test validates the manifest and installs the archives.
package krew

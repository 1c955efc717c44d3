// Package play plays the histories of a plan, and its faults, on a trial system. It records what it does and does not
// check anything.
package play

// Package play plays the histories of a plan on a trial system, and its faults. It notes what it does in the record and judges nothing.
package play

// Package commands tests every command of the documentation: those for a cluster run on a trial system, in the order of
// their page, and the flags of all others are held against the programs. It knows nothing about what they should print.
package commands

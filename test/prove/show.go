package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spillway-k8s/spillway/test/prove/check"
	"github.com/spillway-k8s/spillway/test/prove/record"
)

// mostEntries is how many entries of a record are shown with a violation, the last ones before it.
const mostEntries = 60

// show prints a violation, how to play it again, and the part of the record that shows it.
func show(out io.Writer, o options, entries []record.Entry, violation *check.Violation) {
	fmt.Fprintf(out, "\n%s\n", violation)
	if o.Check == "" {
		fmt.Fprintf(out, "Play it again: %s; check the record again: .run/bin/prove --check=%s\n", o.command(), o.Record)
	}
	slice := violation.Slice(entries)
	if left := len(slice) - mostEntries; left > 0 {
		fmt.Fprintf(out, "… %d entries before\n", left)
		slice = slice[left:]
	}
	for _, entry := range slice {
		line, err := json.Marshal(entry)
		if err != nil {
			line = []byte(err.Error())
		}
		fmt.Fprintf(out, "  %s\n", line)
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spillway-k8s/spillway/test/prove/check"
	"github.com/spillway-k8s/spillway/test/prove/record"
)

// maxEntries is the number of entries that are printed with a violation: the last ones before it.
const maxEntries = 60

// show prints a violation, the command that plays it again, and the relevant part of the record.
func show(out io.Writer, o options, entries []record.Entry, violation *check.Violation) {
	fmt.Fprintf(out, "\n%s\n", violation)
	if o.Check == "" {
		fmt.Fprintf(out, "To play it again: %s; to check the record again: .run/bin/prove --check=%s\n",
			o.command(), o.Record)
	}
	slice := violation.Slice(entries)
	if left := len(slice) - maxEntries; left > 0 {
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

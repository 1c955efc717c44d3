package main

import (
	"strings"

	"github.com/spillway-k8s/spillway/vnode/doctor"
)

// doctorPage lists the codes of the findings of vnode doctor.
func doctorPage(*module) (string, error) {
	var b strings.Builder
	begin(&b, "Codes of vnode doctor",
		"[vnode doctor](../doctor.md) reports what it finds with a code, which never gets another meaning. DR1xx are about "+
			"the connection, DR2xx about the key and the account, DR3xx about what the region offers, DR4xx about the network, "+
			"DR5xx about the form of answers, DR6xx about Pods, DR7xx about logs and commands, DR9xx about the run itself.")
	var rows [][]string
	for _, kind := range doctor.Codes() {
		mend := kind.Mend
		if mend == "" {
			mend = "Nothing needs to be done."
			if _, rest, found := strings.Cut(kind.Meaning, ": run "); found {
				mend = "Run " + rest
			}
		}
		rows = append(rows, []string{code(string(kind.Code)), string(kind.Severity), kind.Title, kind.Meaning, mend})
	}
	b.WriteString("\n" + table([]string{"Code", "Severity", "Finding", "Meaning", "What mends it"}, rows))
	return b.String(), nil
}

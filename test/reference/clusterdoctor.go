package main

import (
	"strings"

	"github.com/spillway-k8s/spillway/cli/doctor"
)

// clusterDoctorPage lists the codes of the findings of kubectl spillway doctor.
func clusterDoctorPage(*module) (string, error) {
	var b strings.Builder
	begin(&b, "Codes of kubectl spillway doctor",
		"[kubectl spillway doctor](../cli.md#what-is-wrong-in-the-cluster) reports what it finds with a code, which "+
			"never gets another meaning. SP1xx are about the installation, SP2xx about the scheduler, SP3xx about "+
			"the webhooks, SP4xx about Leases and rights, SP5xx about virtual nodes, SP6xx about other systems of "+
			"the cluster, SP7xx about workloads, SP9xx about what could not be read. The command prints the names in "+
			"place of the words in capitals.")
	var rows [][]string
	for _, kind := range doctor.Codes() {
		rows = append(rows, []string{
			code(string(kind.Code)), string(kind.Severity), kind.Title, kind.Meaning, kind.Mend,
		})
	}
	b.WriteString("\n" + table([]string{"Code", "Severity", "Finding", "Meaning", "What mends it"}, rows))
	return b.String(), nil
}

package main

import (
	"strings"

	clusterdoctor "github.com/spillway-k8s/spillway/cli/doctor"
	"github.com/spillway-k8s/spillway/internal/diagnosis"
	"github.com/spillway-k8s/spillway/vnode/doctor"
)

// doctorPage lists the codes of the findings of vnode doctor.
func doctorPage(*module) (string, error) {
	return codesPage("vnode doctor", doctor.Codes(),
		"[vnode doctor](../doctor.md) reports what it finds with a code, which never gets another meaning. DR1xx are about "+
			"the connection, DR2xx about the key and the account, DR3xx about what the region offers, DR4xx about the network, "+
			"DR5xx about the form of answers, DR6xx about Pods, DR7xx about logs and commands, DR9xx about the run itself."), nil
}

// clusterDoctorPage lists the codes of the findings of kubectl spillway doctor.
func clusterDoctorPage(*module) (string, error) {
	return codesPage("kubectl spillway doctor", clusterdoctor.Codes(),
		"[kubectl spillway doctor](../cli.md#what-is-wrong-in-the-cluster) reports what it finds with a code, which "+
			"never gets another meaning. SP1xx are about the installation, SP2xx about the scheduler, SP3xx about "+
			"the webhooks, SP4xx about Leases and rights, SP5xx about virtual nodes, SP6xx about other systems of "+
			"the cluster, SP7xx about workloads, SP9xx about what could not be read. The command prints the names in "+
			"place of the words in capitals."), nil
}

func codesPage(command string, kinds diagnosis.Kinds, introduction string) string {
	var b strings.Builder
	begin(&b, "Codes of "+command, introduction)
	var rows [][]string
	for _, kind := range kinds {
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
	return b.String()
}

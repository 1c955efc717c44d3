package main

import (
	"cmp"
	"fmt"
	"strings"
)

// differs says what users of a version of Kubernetes do not have, or must know.
var differs = map[string]string{
	"1.37": "the version that the programs are built for",
	"1.36": "groups of Pods (`spec.schedulingGroup`, alpha) have another API than in 1.37, and were not tried",
	"1.35": "groups of Pods have another API (`spec.workloadRef`, alpha), which Spillway does not know",
	"1.34": "no groups of Pods; `fileKeyRef` and restart rules of containers are alpha, and were not tried",
}

// table returns the results in Markdown. docs/compatibility.md contains it.
func table(results []result) string {
	var b strings.Builder
	b.WriteString("| Kubernetes | etcd | stories | all end-to-end tests | proof: histories | Pods | local slots | " +
		"cloud slots | broken promises | what differs |\n|---|---|--:|--:|--:|--:|--:|--:|--:|---|\n")
	for _, r := range results {
		minor := strings.TrimPrefix(r.Kubernetes, "v")
		if last := strings.LastIndex(minor, "."); last >= 0 {
			minor = minor[:last]
		}
		tests, proof := "failed | failed", "failed | – | – | – | –"
		if r.Tests != nil {
			tests = fmt.Sprintf("%[1]d of %[1]d | %[2]d of %[2]d", r.Tests.Stories, r.Tests.Passed)
		}
		if p := r.Proof; p != nil {
			proof = fmt.Sprintf("%d | %d | %d | %d | 0", p.Histories, p.Pods, p.Slots, p.CloudSlots)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n",
			cmp.Or(r.Kubernetes, "not found"), cmp.Or(r.Etcd, "–"), tests, proof, differs[minor])
	}
	return b.String()
}

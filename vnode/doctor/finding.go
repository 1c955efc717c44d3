package doctor

import (
	"cmp"
	"slices"
)

// Severity says how bad a finding is.
type Severity string

const (
	// Error means that virtual nodes do not work until it is mended.
	Error Severity = "error"
	// Warning means that something does not work, or not as documented.
	Warning Severity = "warning"
	// Info is a fact about the service that is not documented.
	Info Severity = "info"
)

// Finding is what a check has found.
type Finding struct {
	// Code is stable: it never gets another meaning.
	Code     Code     `json:"code"`
	Severity Severity `json:"severity"`
	// Title says in a few words what the code stands for.
	Title string `json:"title"`
	// Message is what was found here, with the text of the service.
	Message string `json:"message"`
	// Meaning is what follows from it, and Mend the command or setting that mends it.
	Meaning string `json:"meaning"`
	Mend    string `json:"mend,omitempty"`
	// Check is the check that has found it.
	Check string `json:"check"`
}

// Outcome is how a check ended.
type Outcome string

// The outcomes of a check. Those of findings are their severities.
const (
	Passed  Outcome = "ok"
	Skipped Outcome = "skipped"
	Failed  Outcome = "failed"
)

// CheckReport is how one check ended.
type CheckReport struct {
	Check   string  `json:"check"`
	Outcome Outcome `json:"outcome"`
	// Note is what the check has seen, or why it was skipped.
	Note string `json:"note,omitempty"`
}

// Report is the result of a run.
type Report struct {
	// Created says whether the run has created objects.
	Created  bool          `json:"created"`
	Checks   []CheckReport `json:"checks"`
	Findings []Finding     `json:"findings"`
}

// Count returns the number of findings of a severity.
func (r *Report) Count(severity Severity) int {
	n := 0
	for i := range r.Findings {
		if r.Findings[i].Severity == severity {
			n++
		}
	}
	return n
}

// worst returns the outcome of a check with these findings. Facts are no problem.
func worst(findings []Finding) Outcome {
	outcome := Passed
	for i := range findings {
		switch findings[i].Severity {
		case Error:
			return Outcome(Error)
		case Warning:
			outcome = Outcome(Warning)
		case Info:
		}
	}
	return outcome
}

// bySeverity sorts findings: errors first, then warnings, each in the order of the checks.
func bySeverity(findings []Finding) []Finding {
	rank := map[Severity]int{Error: 0, Warning: 1, Info: 2}
	sorted := slices.Clone(findings)
	slices.SortStableFunc(sorted, func(a, b Finding) int { return cmp.Compare(rank[a.Severity], rank[b.Severity]) })
	return sorted
}

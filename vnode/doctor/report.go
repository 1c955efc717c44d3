package doctor

import "github.com/spillway-k8s/spillway/internal/diagnosis"

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
	Created  bool               `json:"created"`
	Checks   []CheckReport      `json:"checks"`
	Findings diagnosis.Findings `json:"findings"`
}

// worst returns the outcome of a check with these findings. Facts are no problem.
func worst(findings []diagnosis.Finding) Outcome {
	outcome := Passed
	for i := range findings {
		switch findings[i].Severity {
		case diagnosis.Error:
			return Outcome(diagnosis.Error)
		case diagnosis.Warning:
			outcome = Outcome(diagnosis.Warning)
		case diagnosis.Info:
		}
	}
	return outcome
}

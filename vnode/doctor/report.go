package doctor

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spillway-k8s/spillway/internal/diagnosis"
)

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
	Created bool `json:"created"`
	// Incomplete lists the checks that could not be completed, or for which no time was left. What they would have found
	// is not known. Checks that need one that has not passed are not in it.
	Incomplete []string `json:"incomplete,omitempty"`

	Checks   []CheckReport      `json:"checks"`
	Findings diagnosis.Findings `json:"findings"`
}

// err returns an error if there are findings of severity error, or checks that could not be completed.
func (r *Report) err() error {
	err := r.Findings.Err()
	if len(r.Incomplete) > 0 {
		return errors.Join(err, fmt.Errorf("checks that could not be completed: %s", strings.Join(r.Incomplete, ", ")))
	}
	return err
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

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/internal/schedulers"
	"github.com/spillway-k8s/spillway/policy"
)

// withoutSentence are reasons with which no sentence comes, and why.
var withoutSentence = map[policy.Reason]string{
	policy.ReasonUnmanaged: "It is a label of metrics only.",
	policy.ReasonLocalOnly: "It is a label of metrics only: the condition of the Pod has the reason why it may not " +
		"burst.",
	policy.ReasonQuota: "The message is what the cloud says.",

	policy.ReasonMovingHome:   "The message of the Event says how the Pod moves.",
	policy.ReasonMovedHome:    "The message of the Event says why the Pod goes now.",
	policy.ReasonStaysInCloud: "The message of the Event says what has prevented the move.",
}

// sentences returns an example of the message of each reason: those of decisions from the cases of policy, of several
// the shortest, and the others from the functions that make them.
func sentences(root string) (map[policy.Reason]policy.Message, error) {
	found := map[policy.Reason]policy.Message{}
	files, err := filepath.Glob(filepath.Join(root, "policy/testdata/*.output.yaml"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var one struct {
			Reason  policy.Reason `json:"reason"`
			Message string        `json:"message"`
		}
		if err := yaml.Unmarshal(data, &one); err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		if known, ok := found[one.Reason]; !ok || len(one.Message) < len(known.Sentence) {
			found[one.Reason] = policy.Message{Code: one.Reason, Sentence: one.Message}
		}
	}
	rules, err := policy.New(policy.DefaultConfig())
	if err != nil {
		return nil, err
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}}
	_, invalid := policy.ParseShares(map[string]string{policy.LocalReplicasAnnotation: "two"})
	for _, message := range []policy.Message{
		policy.LocalQuotaReached(policy.Shares{}, policy.FilteredOut),
		policy.PreemptFirst(),
		rules.CloudLimitsReached(pod),
		policy.LocalMinimum(),
		policy.BurstAfter(time.Date(2026, 11, 30, 12, 1, 30, 0, time.UTC)),
		policy.CloudMaximumReached(),
		policy.CloudOnly(policy.Decision{Message: found[policy.ReasonLabelEnforce].Sentence}, policy.AllLocked),
		policy.NotCounted(policy.NeverCounted),
		schedulers.OtherScheduler("volcano", true, false),
		policy.KeptLocal(),
		policy.WebhookMissed(),
		policy.BurstAllowed(policy.Decision{Message: found[policy.ReasonSwitchOn].Sentence}),
		policy.Malformed([]error{invalid}, true, false),
		policy.SoldOut(),
	} {
		found[message.Code] = message
	}
	return found, nil
}

// explained writes the section of a reason of policy: what it means, its sentence, and what to do.
func explained(value, meaning, todo string, examples map[policy.Reason]policy.Message) (string, error) {
	reason := policy.Reason(value)
	text := wrap(meaning) + "\n"
	example, ok := examples[reason]
	why, without := withoutSentence[reason]
	switch {
	case ok == without:
		return "", fmt.Errorf("reason %s needs a sentence, or a reason in withoutSentence, and not both", reason)
	case without:
		text += wrap(why) + "\n"
	default:
		text += fmt.Sprintf("> %s\n\n", code(example.String()))
	}
	if todo == "" {
		return "", errors.New("the comment of reason " + value + " has no part that begins with " + toDo)
	}
	return text + wrap("**"+toDo+"** "+capitalize(todo)), nil
}

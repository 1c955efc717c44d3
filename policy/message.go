package policy

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// MaxMessage is the maximum length in bytes of a message about a Pod: in its status, a condition, an Event or an
	// answer. It leaves room for a few words before or after it in the 1,024 bytes that the events.k8s.io API accepts.
	MaxMessage = 960
	// maxSentence is the maximum length of one of several sentences, so that a long one leaves room for others.
	maxSentence = 720
	// moreLength is the room for "; and 1234567 more".
	moreLength = 20
)

// Messages collects what is wrong with a Pod, one sentence each, for one message. It keeps each sentence once and only
// as many as fit into MaxMessage: a Pod can have thousands of faults. The zero value is empty.
type Messages struct {
	kept []string
	size int
	// more counts the sentences that did not fit.
	more int
}

// Add adds a sentence. It does not format a sentence that no longer fits.
func (m *Messages) Add(format string, args ...any) {
	if m.more > 0 {
		m.more++
		return
	}
	m.add(fmt.Sprintf(format, args...))
}

func (m *Messages) add(sentence string) {
	sentence = Clip(sentence, maxSentence)
	if m.more == 0 && slices.Contains(m.kept, sentence) {
		return
	}
	if m.more > 0 || m.size+len(sentence) > MaxMessage-moreLength {
		m.more++
		return
	}
	m.kept = append(m.kept, sentence)
	m.size += len(sentence) + len("; ")
}

// List returns the sentences that fit, and how many did not.
func (m *Messages) List() []string {
	if m.more == 0 {
		return m.kept
	}
	return append(slices.Clone(m.kept), fmt.Sprintf("and %d more", m.more))
}

// String returns the sentences as one line of at most MaxMessage bytes.
func (m *Messages) String() string { return strings.Join(m.List(), "; ") }

// Summary returns sentences as one line of at most MaxMessage bytes: each once, as many as fit, and how many did not.
func Summary(sentences []string) string {
	var m Messages
	for _, sentence := range sentences {
		m.add(sentence)
	}
	return m.String()
}

// Clip returns a text of at most length bytes. It ends with an ellipsis if it was longer, and cuts no character.
func Clip(text string, length int) string {
	const ellipsis = "…"
	if len(text) <= length {
		return text
	}
	if length < len(ellipsis) {
		return ""
	}
	end := length - len(ellipsis)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + ellipsis
}

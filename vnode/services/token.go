package services

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Pod is the Pod that a token stands for.
type Pod struct {
	// Namespace and Name are those of the Pod.
	Namespace, Name string
	// UID distinguishes it from later Pods of its name.
	UID types.UID
	// Node is the virtual node that it is bound to.
	Node string
}

// PodOf returns the Pod that a token for pod stands for. It must be bound to a node.
func PodOf(pod *corev1.Pod) Pod {
	return Pod{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, Node: pod.Spec.NodeName}
}

const (
	// tokenVersion begins every token.
	tokenVersion = "v1"
	// keyLength is the length of a Key in bytes.
	keyLength = sha256.Size
	// maxToken is more than the longest token has: four names of at most 253 characters, and the signature.
	maxToken = 2048
)

var encoding = base64.RawURLEncoding

// errToken is the only error of Verify: a client learns nothing from it.
var errToken = errors.New("the token is not one of this server")

// Key signs and verifies tokens.
type Key []byte

// Token returns the token of a Pod. The same Pod always gets the same token.
func (k Key) Token(pod Pod) string {
	signed := tokenVersion + "." + encoding.EncodeToString(
		[]byte(strings.Join([]string{pod.Namespace, pod.Name, string(pod.UID), pod.Node}, "/")))
	return signed + "." + k.sign(signed)
}

// Verify returns the Pod of a token that this key has signed. Whether the Pod still exists is not known from that.
func (k Key) Verify(token string) (Pod, error) {
	end := strings.LastIndexByte(token, '.')
	if len(token) > maxToken || end < 0 {
		return Pod{}, errToken
	}
	// Not the decoded signatures: base64 has several forms of the same bytes.
	if !hmac.Equal([]byte(token[end+1:]), []byte(k.sign(token[:end]))) {
		return Pod{}, errToken
	}
	// Only this program writes what follows.
	version, payload, _ := strings.Cut(token[:end], ".")
	text, err := encoding.DecodeString(payload)
	if parts := strings.Split(string(text), "/"); err == nil && version == tokenVersion && len(parts) == 4 {
		return Pod{Namespace: parts[0], Name: parts[1], UID: types.UID(parts[2]), Node: parts[3]}, nil
	}
	return Pod{}, errToken
}

func (k Key) sign(text string) string {
	mac := hmac.New(sha256.New, k)
	mac.Write([]byte(text))
	return encoding.EncodeToString(mac.Sum(nil))
}

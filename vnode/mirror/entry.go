package mirror

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// entry is what is known of one copy and its source.
type entry struct {
	mirror identity.Mirror
	// exists reports, without the lock, whether copy is set.
	exists atomic.Bool

	// size is the counted size of the copy in bytes. Mirrors.mu guards it.
	size int64

	// mu is held during all work on the copy, requests included. So a copy is not removed while Ensure is called for a
	// Pod that needs it.
	mu sync.Mutex
	// dropped entries are no longer in the map.
	dropped bool
	// checked is when the read of the source began that found and keys come from. Zero if the source was never read.
	checked time.Time
	found   bool
	keys    map[string]bool
	// copy is the copy in the cloud, nil if none is known. written is when this program changed it last.
	copy    *copied
	written time.Time
	// leftover: the cloud has the volume of a MirrorClaim but not its claim.
	leftover bool
	// renew is when the tokens of a MirrorToken are due for renewal.
	renew time.Time
	// ways are those of the kubeconfig in a MirrorToken. compared is the digest of one that needs no other.
	ways     []way
	compared [sha256.Size]byte
	// unusedSince is when the copy was first found unused; zero while it is in use.
	unusedSince time.Time
}

// copied is what is kept of a copy: its values are not.
type copied struct {
	meta   metav1.ObjectMeta
	kind   corev1.SecretType
	digest [sha256.Size]byte
	size   int64
}

// lock returns the entry of a copy, locked. It fails only if admit refuses a new entry.
func (m *Mirrors) lock(mirror identity.Mirror, admit func(identity.Mirror) error) (*entry, error) {
	for {
		e, err := m.entry(mirror, admit)
		if err != nil {
			return nil, err
		}
		e.mu.Lock()
		if !e.dropped {
			return e, nil
		}
		e.mu.Unlock()
	}
}

// lockListed returns the entry of a copy that is in the cloud already, locked.
func (m *Mirrors) lockListed(mirror identity.Mirror) *entry {
	e, _ := m.lock(mirror, func(identity.Mirror) error { return nil })
	return e
}

// lockKnown returns the entry of a copy, locked, nil if there is none.
func (m *Mirrors) lockKnown(mirror identity.Mirror) *entry {
	m.mu.Lock()
	e := m.entries[mirror]
	m.mu.Unlock()
	if e == nil {
		return nil
	}
	e.mu.Lock()
	if e.dropped {
		e.mu.Unlock()
		return nil
	}
	return e
}

func (m *Mirrors) entry(mirror identity.Mirror, admit func(identity.Mirror) error) (*entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries[mirror]
	if e == nil {
		if err := admit(mirror); err != nil {
			return nil, err
		}
		e = &entry{mirror: mirror}
		m.entries[mirror] = e
		m.change(mirror, 1, 0)
		m.loop.AddAfter(mirror, jittered(m.config.Refresh))
	}
	return e, nil
}

// drop removes a locked entry from the map.
func (m *Mirrors) drop(e *entry) {
	e.dropped = true
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.entries, e.mirror)
	m.change(e.mirror, -1, -e.size)
}

func (m *Mirrors) known() []identity.Mirror {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.entries))
}

// setCopy records a copy as the cloud has it, nil for none.
func (m *Mirrors) setCopy(e *entry, data *cci.Data) {
	defer m.settle(e)
	e.exists.Store(data != nil)
	if data == nil {
		e.copy = nil
		return
	}
	e.copy = &copied{meta: data.ObjectMeta, kind: data.Type, digest: digest(data), size: sizeOf(data)}
	e.copy.meta.ManagedFields = nil
	if e.mirror.Kind == identity.MirrorToken {
		e.keys = keysOf(data)
		e.renew = renewalOf(data)
		e.ways = waysOf(data.Binary[identity.KubeconfigKey])
	}
}

func keysOf(data *cci.Data) map[string]bool {
	keys := make(map[string]bool, len(data.Text)+len(data.Binary))
	for key := range data.Text {
		keys[key] = true
	}
	for key := range data.Binary {
		keys[key] = true
	}
	return keys
}

// sizeOf returns the size of contents in bytes.
func sizeOf(data *cci.Data) (size int64) {
	for key, value := range data.Text {
		size += int64(len(key) + len(value))
	}
	for key, value := range data.Binary {
		size += int64(len(key) + len(value))
	}
	return size
}

// digest identifies contents. It includes lengths, so that different contents never hash the same bytes.
func digest(data *cci.Data) [sha256.Size]byte {
	sum := sha256.New()
	write := func(part string) {
		sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		sum.Write([]byte(part))
	}
	write(string(data.Type))
	for _, key := range slices.Sorted(maps.Keys(data.Text)) {
		write("text")
		write(key)
		write(data.Text[key])
	}
	for _, key := range slices.Sorted(maps.Keys(data.Binary)) {
		write("binary")
		write(key)
		write(string(data.Binary[key]))
	}
	return [sha256.Size]byte(sum.Sum(nil))
}

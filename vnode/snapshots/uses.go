package snapshots

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/vnode/cci"
)

// maxImages is how many images are remembered.
const maxImages = 1000

// uses remembers which images Pods use. Users choose them: it is bounded.
type uses struct {
	mu      sync.Mutex
	byImage map[string]*use
	// kept are the images that have a snapshot. They are not forgotten.
	kept map[string]bool
}

// use is how an image is used.
type use struct {
	first, last time.Time
	// pods and namespaces are those that have used the image, not more than it takes to tell one from several.
	pods       map[types.UID]bool
	namespaces map[string]bool
}

func newUses() *uses { return &uses{byImage: map[string]*use{}, kept: map[string]bool{}} }

// note notes that a Pod uses an image.
func (u *uses) note(image string, pod *corev1.Pod, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	found := u.byImage[image]
	if found == nil {
		if len(u.byImage) >= maxImages && !u.dropOldestLocked() {
			return
		}
		found = &use{first: now, pods: map[types.UID]bool{}, namespaces: map[string]bool{}}
		u.byImage[image] = found
	}
	found.last = now
	if len(found.pods) < minPods {
		found.pods[pod.UID] = true
	}
	if len(found.namespaces) < 2 {
		found.namespaces[pod.Namespace] = true
	}
}

// dropOldestLocked forgets the image that has not been used for the longest time.
func (u *uses) dropOldestLocked() bool {
	oldest := ""
	for image, found := range u.byImage {
		if !u.kept[image] && (oldest == "" || found.last.Before(u.byImage[oldest].last)) {
			oldest = image
		}
	}
	delete(u.byImage, oldest)
	return oldest != ""
}

// forget forgets the images that were last used before a time, and notes which have a snapshot.
func (u *uses) forget(before time.Time, mine map[string]*cci.ImageSnapshot) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.kept = map[string]bool{}
	for image := range mine {
		u.kept[image] = true
	}
	for image, found := range u.byImage {
		if !u.kept[image] && found.last.Before(before) {
			delete(u.byImage, image)
		}
	}
}

// last returns when an image was last used, zero if that is not known.
func (u *uses) last(image string) time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	if found := u.byImage[image]; found != nil {
		return found.last
	}
	return time.Time{}
}

// longest returns the image that is used for the longest time, of those that match, empty if there is none. match must
// not use uses.
func (u *uses) longest(match func(string, *use) bool) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	best := ""
	for image, found := range u.byImage {
		better := best == "" || found.first.Before(u.byImage[best].first) ||
			found.first.Equal(u.byImage[best].first) && image < best
		if better && match(image, found) {
			best = image
		}
	}
	return best
}

// only returns the only namespace that uses the image, and false if several do.
func (u *use) only() (string, bool) {
	for namespace := range u.namespaces {
		return namespace, len(u.namespaces) == 1
	}
	return "", false
}

// onlyOf returns the number of the images of which one namespace is the only user.
func (u *uses) onlyOf(images map[string]*cci.ImageSnapshot) map[string]int {
	u.mu.Lock()
	defer u.mu.Unlock()
	counts := map[string]int{}
	for image := range images {
		if found := u.byImage[image]; found != nil {
			if namespace, ok := found.only(); ok {
				counts[namespace]++
			}
		}
	}
	return counts
}

package wayhome

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/extender/wayhome/fit"
	"github.com/spillway-k8s/spillway/policy"
)

// group is the Pods of one controller that may return.
type group struct {
	controller types.UID
	members    []entry
	// drained says that drain-back asked for one of them.
	drained bool
}

// finding is what a search says about a group.
type finding struct {
	stay stay
	// why is a sentence for the Event of a Pod that drain-back asked for.
	why string
	// pod is the one that is next.
	pod *corev1.Pod
}

func stayFor(s stay, why string) finding { return finding{stay: s, why: why} }

// search looks for Pods that can move, and begins moves until as many are under way as may be.
func (c *Controller) search(ctx context.Context, caches *caches, moving int) {
	s := &search{Controller: c, caches: caches, moving: moving + len(c.replacing), reads: maxRead}
	counts := map[stay]int{}
	told := map[types.UID]stay{}
	for _, g := range c.groups() {
		v := s.decide(ctx, g)
		counts[v.stay] += len(g.members)
		if v.stay == leaves { // The others of its workload wait for it.
			counts[staysMoving] += len(g.members) - 1
		}
		c.tellDrained(caches, g, v, told)
	}
	c.told = told
	delete(counts, leaves)
	c.metrics.show(counts, s.moving)
}

// search is one search.
type search struct {
	*Controller
	caches   *caches
	room     *fit.Cluster // made when it is needed first
	moving   int
	examined int
	reads    int
}

// groups returns the Pods that may return, those that drain-back asked for first, then in turns.
func (c *Controller) groups() []group {
	now := c.Now()
	byController := map[policy.Revision]*group{}
	for _, e := range c.Index.all(func(e entry) bool { return c.returns(e, now) }) {
		g, ok := byController[e.revision]
		if !ok {
			g = &group{controller: e.revision.Owner}
			byController[e.revision] = g
		}
		g.members = append(g.members, e)
		g.drained = g.drained || drains(e.asked, now)
	}
	groups := make([]group, 0, len(byController))
	for _, g := range byController {
		groups = append(groups, *g)
	}
	next := c.next
	behind := func(g group) int {
		switch {
		case g.drained:
			return 0
		case g.controller > next:
			return 1
		}
		return 2
	}
	slices.SortFunc(groups, func(a, b group) int {
		return cmp.Or(cmp.Compare(behind(a), behind(b)), cmp.Compare(a.controller, b.controller))
	})
	return groups
}

// decide says why the Pods of a group stay, or begins to move one.
func (s *search) decide(ctx context.Context, g group) finding {
	switch now := s.Now(); {
	case !s.Facts.WayHome():
		return stayFor(staysStopped, policy.WayHomeSwitch+" in ConfigMap "+policy.SwitchConfigMapNamespace+"/"+
			policy.SwitchConfigMapName+" stops the way home")
	case !g.drained && now.Sub(s.began) < startPauses*s.config.Pause.Duration:
		return stayFor(staysStarting, "")
	case !g.drained && !s.hours.open(now):
		return stayFor(staysScheduled, "")
	case s.moving >= s.config.MaxMoves:
		return stayFor(staysBusy, "")
	case s.examined >= maxExamined || s.reads <= 0:
		return stayFor(staysUnexamined, "")
	}
	s.examined++
	s.next = g.controller
	v := s.examine(g)
	if v.stay != leaves {
		return v
	}
	s.reads--
	return s.begin(ctx, g, v.pod)
}

// examine says what the caches know: why the Pods of a group stay, or which of them is next.
func (s *search) examine(g group) finding {
	now := s.Now()
	past := s.history.get(g.controller, now)
	siblings := s.caches.ofController(g.members[0].Namespace, g.controller)
	for _, pod := range siblings {
		if pod.Spec.NodeName == "" {
			s.history.steady(past, false, now)
			return stayFor(staysWaiting, "another Pod of its workload waits for a node")
		}
		if s.Nodes.IsVirtual(pod.Spec.NodeName) {
			s.history.burst(past, pod.CreationTimestamp.Time, now)
		}
	}
	if _, ok := s.replacing[g.controller]; ok || s.Index.any(func(e entry) bool {
		return e.moving && e.revision.Owner == g.controller
	}) {
		return stayFor(staysMoving, "")
	}
	if past.until.After(now) {
		if past.failed {
			return stayFor(staysFailed, "its last attempt has failed, and the next one comes after a pause")
		}
		if !g.drained {
			return stayFor(staysPaused, "")
		}
	}
	pod, v := s.choose(g)
	if pod == nil {
		return v
	}
	if kind, _, _, ok := controllerOf(pod); !ok || kind == "" {
		return stayFor(staysOwner, otherOwner)
	}
	successor := successorOf(pod)
	node, why := s.fits().Node(successor, s.Nodes.IsLocal)
	if node == "" {
		s.history.steady(past, false, now)
		return stayFor(staysRoom, why)
	}
	home, err := s.Placement.Home(successor, node)
	if err != nil || !home.Local {
		s.history.steady(past, false, now)
		why := fmt.Sprintf("the extender would not place it on a local node (%s)", home.Reason)
		if err != nil {
			why = "the extender cannot say where it would be placed"
		}
		return stayFor(staysPlacement, why)
	}
	if !s.history.steady(past, true, now) {
		return stayFor(staysUnsteady, "")
	}
	return finding{pod: pod}
}

// choose returns the Pod of a group that is next: of those that may go, the oldest.
func (s *search) choose(g group) (*corev1.Pod, finding) {
	now := s.Now()
	v := stayFor(staysUnready, "it is not Ready")
	var oldest *corev1.Pod
	for _, e := range g.members {
		pod := s.caches.pod(e.NamespacedName)
		switch {
		case pod == nil || !policy.IsActive(pod) || readyCondition(pod) == nil:
			continue
		case g.drained && !drains(e.asked, now):
			continue
		case !g.drained && now.Sub(pod.CreationTimestamp.Time) < s.config.MinAge.Duration:
			v = stayFor(staysYoung, "")
			continue
		}
		if oldest == nil || pod.CreationTimestamp.Before(&oldest.CreationTimestamp) ||
			pod.CreationTimestamp.Equal(&oldest.CreationTimestamp) && strings.Compare(pod.Name, oldest.Name) < 0 {
			oldest = pod
		}
	}
	return oldest, v
}

// fits returns what nodes have room for. It is calculated once for a search.
func (s *search) fits() *fit.Cluster {
	if s.room == nil {
		s.room = s.caches.room(s.Facts)
	}
	return s.room
}

// begin reads the Pod and its workload from the API server, and begins the move if nothing speaks against it.
func (s *search) begin(ctx context.Context, g group, cached *corev1.Pod) finding {
	fault := func(err error) finding {
		if !errors.Is(err, errStale) && ctx.Err() == nil {
			s.failed(err)
		}
		return stayFor(staysError, "")
	}
	pod, err := s.current(ctx, cached)
	if err != nil {
		return fault(err)
	}
	w, why, err := s.workloadOf(ctx, pod)
	switch {
	case err != nil:
		return fault(err)
	case why != "":
		return stayFor(staysWorkload, why)
	}
	home, err := s.Placement.Home(successorOf(pod), pod.Spec.NodeName)
	if err == nil && home.Unmanaged && policy.ToleratesProvider(w.template) {
		return stayFor(staysPlacement, "its template tolerates virtual nodes, and the scheduler may choose one again")
	}
	// With a surge, there is one Pod more when it is evicted.
	refused, err := s.evict(ctx, pod, true)
	switch {
	case err != nil:
		return fault(err)
	case refused && !w.surge:
		return stayFor(staysBudget, "a PodDisruptionBudget does not allow its eviction now")
	}
	if err := s.Leadership.VerifyTerm(ctx, s.term); err != nil {
		return fault(err)
	}
	if w.surge {
		err = s.release(ctx, pod, w)
	} else {
		err = s.replace(ctx, pod, w)
	}
	switch {
	case apierrors.IsConflict(err), errors.Is(err, errStale):
		return stayFor(staysError, "")
	case err != nil:
		return fault(err)
	}
	s.moving++
	return finding{}
}

// release begins a move with the successor first.
func (s *search) release(ctx context.Context, pod *corev1.Pod, w workload) error {
	m := policy.MovingHome{
		Hash:       pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey],
		ReplicaSet: w.replicaSet.Name, ReplicaSetUID: w.replicaSet.UID,
		Deployment: w.deployment.Name, DeploymentUID: w.deployment.UID,
		Start: metav1.NewTime(s.Now().UTC()), After: pod.CreationTimestamp,
	}
	for _, other := range s.caches.ofController(pod.Namespace, w.replicaSet.UID) {
		if m.After.Before(&other.CreationTimestamp) {
			m.After = other.CreationTimestamp
		}
	}
	patch, err := releasePatch(pod, m)
	if err != nil {
		return err
	}
	if err := s.patch(ctx, pod, patch); err != nil {
		return err
	}
	s.tell(pod, &w.object, corev1.EventTypeNormal, policy.ReasonMovingHome,
		"there is room on a local node: the Pod is evicted from the cloud once its successor is Ready there")
	return nil
}

// replace begins a move by an eviction.
func (s *search) replace(ctx context.Context, pod *corev1.Pod, w workload) error {
	_, _, controller, _ := controllerOf(pod)
	r := replacement{pod: pod, workload: w.object, others: map[types.UID]bool{}, start: s.Now()}
	for _, other := range s.caches.ofController(pod.Namespace, controller) {
		r.others[other.UID] = true
	}
	refused, err := s.evict(ctx, pod, false)
	switch {
	case err != nil:
		return err
	case refused:
		return errStale // Another eviction came first.
	}
	s.replacing[controller] = r
	s.tell(pod, &w.object, corev1.EventTypeNormal, policy.ReasonMovingHome,
		"there is room on a local node: the Pod is evicted from the cloud, and its successor starts there")
	return nil
}

// workloadOf reads the workload of a Pod from the API server. why says why none of its Pods moves now.
func (s *search) workloadOf(ctx context.Context, pod *corev1.Pod) (w workload, why string, err error) {
	kind, name, uid, _ := controllerOf(pod)
	switch kind {
	case "ReplicaSet":
		sets := s.Client.AppsV1().ReplicaSets(pod.Namespace)
		rs, err := withUID(sets.Get(ctx, name, metav1.GetOptions{}))(uid)
		if err != nil || rs == nil {
			return workload{}, isGone, err
		}
		owner := metav1.GetControllerOfNoCopy(rs)
		if owner == nil {
			w, why = ofReplicaSet(rs)
			return w, why, nil
		}
		if owner.Kind != "Deployment" || owner.APIVersion != appsv1.SchemeGroupVersion.String() {
			return workload{}, otherOwner, nil
		}
		deployments := s.Client.AppsV1().Deployments(pod.Namespace)
		d, err := withUID(deployments.Get(ctx, owner.Name, metav1.GetOptions{}))(owner.UID)
		if err != nil || d == nil {
			return workload{}, isGone, err
		}
		w, why = ofDeployment(pod, rs, d)
		return w, why, nil
	case "StatefulSet":
		set, err := withUID(s.Client.AppsV1().StatefulSets(pod.Namespace).Get(ctx, name, metav1.GetOptions{}))(uid)
		if err != nil || set == nil {
			return workload{}, isGone, err
		}
		w, why = ofStatefulSet(pod, set)
		return w, why, nil
	}
	controllers := s.Client.CoreV1().ReplicationControllers(pod.Namespace)
	rc, err := withUID(controllers.Get(ctx, name, metav1.GetOptions{}))(uid)
	if err != nil || rc == nil {
		return workload{}, isGone, err
	}
	w, why = ofReplicationController(rc)
	return w, why, nil
}

// tellDrained records why a Pod stays that drain-back asked for, once for each reason. Reasons that pass soon
// have no sentence.
func (c *Controller) tellDrained(caches *caches, g group, v finding, told map[types.UID]stay) {
	now := c.Now()
	for _, e := range g.members {
		if !drains(e.asked, now) {
			continue
		}
		pod := caches.pod(e.NamespacedName)
		if pod == nil {
			continue
		}
		if v.why == "" {
			told[pod.UID] = c.told[pod.UID]
			continue
		}
		told[pod.UID] = v.stay
		if c.told[pod.UID] != v.stay {
			c.tell(pod, nil, corev1.EventTypeNormal, policy.ReasonStaysInCloud, "the Pod stays in the cloud: "+v.why)
		}
	}
}

package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/spillway-k8s/spillway/internal/diagnosis"
	"github.com/spillway-k8s/spillway/policy/sizes"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/doctor/transcript"
)

const (
	podName       = namePrefix + "pod"
	containerName = "main"
	// userID is a user that no image has.
	userID     int64 = 10001
	search           = "doctor.spillway.io"
	configPath       = "/doctor/config"
	secretPath       = "/doctor/secret"
	// podDeadline ends the Pod if everything else fails. The cloud then no longer bills it.
	podDeadline = 15 * time.Minute
	maxLog      = 64 << 10
)

// smallestPod returns a Pod of the smallest size.
func (d *Doctor) smallestPod(name, image string) *cci.Pod {
	smallest := sizes.Flavors()[0].Resources()
	pod := &cci.Pod{ObjectMeta: d.meta(name), Spec: cci.PodSpec{
		RestartPolicy:                 corev1.RestartPolicyNever,
		ActiveDeadlineSeconds:         new(int64(podDeadline.Seconds())),
		TerminationGracePeriodSeconds: new(int64(1)),
		DNSPolicy:                     corev1.DNSDefault,
		Containers: []cci.Container{{
			Name: containerName, Image: image, ImagePullPolicy: corev1.PullIfNotPresent,
			Command:   []string{"sh", "-c", "echo spillway; exec sleep 900"},
			Resources: cci.Resources{Requests: smallest, Limits: smallest},
		}},
	}}
	if secret := d.config.Pods.PullSecret; secret != "" {
		pod.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: secret}}
	}
	return pod
}

// fullPod adds the fields whose effect is not documented, and references to a ConfigMap and a Secret.
func (d *Doctor) fullPod() *cci.Pod {
	user := userID
	pod := d.smallestPod(podName, d.options.Image)
	pod.Spec.DNSConfig = &corev1.PodDNSConfig{Searches: []string{search}}
	pod.Spec.SecurityContext = &cci.PodSecurityContext{RunAsUser: &user, RunAsGroup: &user}
	pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "DOCTOR", ValueFrom: &corev1.EnvVarSource{
		ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: dataName}, Key: dataKey,
		},
	}}}
	pod.Spec.Containers[0].VolumeMounts = []cci.VolumeMount{
		{Name: "config", MountPath: configPath, ReadOnly: true},
		{Name: "secret", MountPath: secretPath, ReadOnly: true},
	}
	pod.Spec.Volumes = []cci.Volume{
		{Name: "config", ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: dataName},
		}},
		{Name: "secret", Secret: &corev1.SecretVolumeSource{SecretName: dataName}},
	}
	return pod
}

// createPod creates the Pod and waits until it runs.
func createPod(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	created, err := d.cloud.CreatePod(ctx, d.namespace(), d.fullPod())
	if err != nil {
		if refused := refusal(err); refused == nil && cci.IsPermanent(err) {
			return "", []diagnosis.Finding{found(CodePodRefused, "%s", quote(err))}, nil
		}
		return d.refusedPod(err)
	}
	d.pod = created
	if sent := d.recorder.Last(); sent != nil {
		d.sent = sent.Request
	}
	err = d.await(ctx, func() (bool, error) {
		read, err := d.cloud.GetPod(ctx, d.namespace(), podName)
		if err != nil {
			return false, err
		}
		d.pod = read
		phase := read.Status.Phase
		return phase != corev1.PodPending && phase != "", nil
	})
	switch words := wordsOf(d.pod); {
	case errors.Is(err, context.DeadlineExceeded) && isPullFailure(d.pod):
		return "", []diagnosis.Finding{found(CodeImageNotPulled, "image %s: %s", d.options.Image, words)}, nil
	case errors.Is(err, context.DeadlineExceeded):
		return "", []diagnosis.Finding{found(CodePodNotRunning, "Pod %s is %s: %s", podName, d.pod.Status.Phase, words)}, nil
	case err != nil:
		return "", nil, err
	case d.pod.Status.Phase != corev1.PodRunning:
		return "", []diagnosis.Finding{found(CodePodNotRunning, "Pod %s is %s: %s", podName, d.pod.Status.Phase, words)}, nil
	}
	size := d.pod.Annotations[cci.SizeAnnotation]
	return "runs, billed size " + size, nil, nil
}

// refusedPod returns the finding for a Pod that could not be created. That a quota has no room is reported once. Other
// errors are returned as they are.
func (d *Doctor) refusedPod(err error) (string, []diagnosis.Finding, error) {
	switch {
	case refusal(err) != nil || !cci.IsQuotaExceeded(err):
		return d.refusedCreation(err)
	case d.quotaReported:
		return "", nil, errExplained
	}
	d.quotaReported = true
	return "", []diagnosis.Finding{found(CodePodQuota, "%s", quote(err))}, nil
}

// wordsOf quotes what the status of a Pod says about why it does not run.
func wordsOf(pod *cci.Pod) string {
	var texts []string
	add := func(parts ...string) {
		if text := strings.TrimSpace(strings.Join(parts, " ")); text != "" && !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	status := pod.Status
	add(status.Reason, status.Message)
	for _, c := range status.Conditions {
		if c.Status != corev1.ConditionTrue && (c.Reason != "" || c.Message != "") {
			add(string(c.Type), c.Reason, c.Message)
		}
	}
	for i := range status.ContainerStatuses {
		if waiting := status.ContainerStatuses[i].State.Waiting; waiting != nil {
			add(waiting.Reason, waiting.Message)
		}
		if ended := status.ContainerStatuses[i].State.Terminated; ended != nil {
			add(ended.Reason, "exit code", strconv.Itoa(int(ended.ExitCode)), ended.Message)
		}
	}
	if len(texts) == 0 {
		return "the status says no reason"
	}
	return strings.Join(texts, "; ")
}

// isPullFailure reports whether a container waits for its image, without success so far.
func isPullFailure(pod *cci.Pod) bool {
	return slices.ContainsFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool {
		return s.State.Waiting != nil && strings.Contains(s.State.Waiting.Reason, "Image")
	})
}

// compareFields compares what was sent with what the cloud has kept.
func compareFields(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	if d.pod == nil {
		return "there is no Pod", nil, errSkip
	}
	if _, err := d.cloud.GetPod(ctx, d.namespace(), podName); err != nil {
		return "", nil, err
	}
	last := d.recorder.Last()
	if last == nil {
		return "", nil, errors.New("the answer was not recorded")
	}
	lost, err := Lost(d.sent, last.Answer)
	if err != nil {
		return "", nil, err
	}
	if len(lost) == 0 {
		return "all fields came back", nil, nil
	}
	unlisted := slices.DeleteFunc(slices.Clone(lost), func(field string) bool { return !isUnlisted(field) })
	listed := slices.DeleteFunc(slices.Clone(lost), isUnlisted)
	var findings []diagnosis.Finding
	if len(listed) > 0 {
		findings = append(findings, found(CodeFieldsDropped, "%s", strings.Join(listed, ", ")))
	}
	if len(unlisted) > 0 {
		findings = append(findings, found(CodeUnlistedDropped, "%s", strings.Join(unlisted, ", ")))
	}
	return fmt.Sprintf("fields that did not come back: %d", len(lost)), findings, nil
}

// isUnlisted reports whether a field of a container is sent although the definitions of CCI's API do not list it
// (docs/cloud.md).
func isUnlisted(path string) bool {
	return strings.HasSuffix(path, ".imagePullPolicy") || strings.HasSuffix(path, ".stdinOnce")
}

// readEvents reads the Events of the Pod.
func readEvents(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	if d.pod == nil {
		return "there is no Pod", nil, errSkip
	}
	if d.outcomes["events"] == Outcome(diagnosis.Warning) {
		return "not offered", nil, nil
	}
	events, err := d.cloud.PodEvents(ctx, d.namespace(), podName, d.pod.UID)
	if err != nil {
		if statusOf(err) == http.StatusNotFound {
			return "", []diagnosis.Finding{found(CodeNoEvents, "%s", quote(err))}, nil
		}
		return "", nil, err
	}
	var reasons []string
	for i := range events {
		reasons = append(reasons, events[i].Reason)
	}
	if len(reasons) == 0 {
		return "", []diagnosis.Finding{found(CodeNoPodEvents, "the list for Pod %s is empty", podName)}, nil
	}
	slices.Sort(reasons)
	return strings.Join(slices.Compact(reasons), ", "), nil, nil
}

// readLog reads the log of the container.
func readLog(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	stream, err := d.cloud.PodLog(ctx, d.namespace(), podName, cci.LogOptions{Container: containerName})
	if err != nil {
		return "", []diagnosis.Finding{found(CodeNoLog, "%s", quote(err))}, nil
	}
	defer stream.Close()
	text, err := io.ReadAll(io.LimitReader(stream, maxLog))
	switch {
	case err != nil:
		return "", []diagnosis.Finding{found(CodeNoLog, "%v", err)}, nil
	case len(text) == 0:
		return "", []diagnosis.Finding{found(CodeNoLog, "the log is empty, although the container has written a line")}, nil
	}
	return fmt.Sprintf("%d bytes", len(text)), nil, nil
}

// runCommands runs commands with a token, and compares what they see with what the Pod says.
func runCommands(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	user, err := d.command(ctx, d.cloud, transcript.AuthToken, "id", "-u")
	if err != nil {
		return "", []diagnosis.Finding{found(CodeNoExec, "%s", quote(err))}, nil
	}
	var findings []diagnosis.Finding
	if user = strings.TrimSpace(user); user != strconv.FormatInt(userID, 10) {
		findings = append(findings,
			found(CodeUserNotApplied, "the container runs as user %s instead of %d", user, userID))
	}
	resolv, err := d.command(ctx, d.cloud, transcript.AuthToken, "cat", "/etc/resolv.conf")
	if err != nil {
		return "", findings, err
	}
	if !slices.Contains(strings.Fields(resolv), search) {
		findings = append(findings, found(CodeSearchesNotApplied, "/etc/resolv.conf does not have %s: %s", search,
			strings.Join(strings.Fields(resolv), " ")))
	}
	for _, dir := range []string{configPath, secretPath} {
		text, err := d.command(ctx, d.cloud, transcript.AuthToken, "cat", dir+"/"+dataKey)
		if err != nil || strings.TrimSpace(text) != dataText {
			findings = append(findings, found(CodeMountsMissing, "%s/%s has %q instead of %q", dir, dataKey,
				strings.TrimSpace(text), dataText))
		}
	}
	return "a command runs as user " + user, findings, nil
}

// runSigned runs a command with a signature.
func runSigned(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	if _, err := d.command(ctx, d.signing, transcript.AuthSignature, "id", "-u"); err != nil {
		return "", []diagnosis.Finding{found(CodeSignedExecRefused, "%s", quote(err))}, nil
	}
	return "a signature is enough", nil, nil
}

// command runs a command in the Pod and returns its output.
func (d *Doctor) command(ctx context.Context, cloud *cci.Client, auth string, command ...string) (string, error) {
	return d.commandIn(ctx, cloud, auth, podName, containerName, command...)
}

// commandIn runs a command in a container of a Pod and returns its output. The stream is no HTTP request, so it is
// recorded here.
func (d *Doctor) commandIn(
	ctx context.Context, cloud *cci.Client, auth, pod, container string, command ...string,
) (string, error) {
	var out, errs limitedText
	err := cloud.PodExec(ctx, d.namespace(), pod, cci.ExecOptions{Container: container, Command: command},
		cci.ExecStreams{Stdout: &out, Stderr: &errs})
	e := transcript.Exchange{
		Service: transcript.ServiceCCI, Method: http.MethodGet,
		Path:  "/apis/cci/v2/namespaces/" + d.namespace() + "/pods/" + pod + "/exec",
		Query: map[string][]string{"command": command, "container": {container}}, Auth: auth,
		Status: http.StatusSwitchingProtocols, Text: out.String() + errs.String(),
	}
	if err != nil {
		e.Error = err.Error()
		if answered, ok := errors.AsType[*cci.Error](err); ok {
			e.Status = answered.Status
		}
	}
	d.recorder.Add(e)
	return out.String(), err
}

// limitedText keeps the beginning of what is written to it.
type limitedText struct{ text strings.Builder }

// Write implements io.Writer.
func (l *limitedText) Write(p []byte) (int, error) {
	l.text.Write(p[:min(len(p), max(maxLog-l.text.Len(), 0))]) // It never returns an error.
	return len(p), nil
}

// String returns what was kept.
func (l *limitedText) String() string { return l.text.String() }

// watchPods watches from the version before the Pod was created: the watch must show the Pod, and a bookmark.
func watchPods(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	if d.pod == nil || d.listVersion == "" {
		return "there is no Pod", nil, errSkip
	}
	stream, err := d.cloud.WatchPods(ctx, d.namespace(), cci.WatchOptions{
		ResourceVersion: d.listVersion, Timeout: d.options.WatchTime,
	})
	if err != nil {
		return "", nil, err
	}
	defer stream.Close()
	added, events, bookmarks := false, 0, 0
	for {
		event, err := stream.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", nil, err
		}
		switch event.Type {
		case watch.Bookmark:
			bookmarks++
		default:
			events++
			added = added || event.Type == watch.Added && event.Pod.Name == podName
		}
	}
	var findings []diagnosis.Finding
	if !added {
		findings = append(findings, found(CodeWatchIncomplete,
			"a watch from the version of an earlier list did not show that Pod %s was created", podName))
	}
	if bookmarks == 0 {
		findings = append(findings, found(CodeNoBookmarks, "a watch of %s had none", d.options.WatchTime))
		return "no bookmark", findings, nil
	}
	return "changes and bookmarks arrive", findings, nil
}

// watchExpired watches from the oldest version there is: what the answer is, is in the transcript.
func watchExpired(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	stream, err := d.cloud.WatchPods(ctx, d.namespace(), cci.WatchOptions{ResourceVersion: "1", Timeout: time.Second})
	if cci.IsExpired(err) {
		return "a version that is too old is answered with HTTP 410", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	defer stream.Close()
	for {
		_, err := stream.Next()
		switch {
		case cci.IsExpired(err):
			return "a version that is too old is answered with an event of a stream", nil, nil
		case errors.Is(err, io.EOF):
			return "the first version is not too old", nil, nil
		case err != nil:
			return "", nil, err
		}
	}
}

// deletePod deletes the Pod with a wrong UID, which must fail, and with the right one.
func deletePod(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	if d.pod == nil {
		return "there is no Pod", nil, errSkip
	}
	var findings []diagnosis.Finding
	err := d.cloud.DeletePod(ctx, d.namespace(), podName,
		cci.DeleteOptions{UID: transcript.NoUID, GraceSeconds: new(int64)})
	switch {
	case err == nil:
		findings = append(findings, found(CodePreconditions, "Pod %s was deleted with a UID that is not its own", podName))
	case !cci.IsConflict(err):
		return "", nil, err
	}
	err = d.cloud.DeletePod(ctx, d.namespace(), podName, cci.DeleteOptions{UID: d.pod.UID, GraceSeconds: new(int64)})
	if err != nil && !cci.IsNotFound(err) {
		return "", findings, err
	}
	err = d.await(ctx, func() (bool, error) {
		_, err := d.cloud.GetPod(ctx, d.namespace(), podName)
		return statusOf(err) == http.StatusNotFound, nil
	})
	if err != nil {
		return "", findings, fmt.Errorf("waiting until Pod %s is gone: %w", podName, err)
	}
	if len(findings) > 0 {
		return "the UID is ignored", findings, nil
	}
	return "a wrong UID is refused, the right one deletes", nil, nil
}

// impossibleImage creates a Pod whose image does not exist, for what the cloud says then.
func impossibleImage(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	registry, _, named := strings.Cut(d.options.Image, "/")
	if !named {
		registry = "docker.io"
	}
	const name = namePrefix + "image"
	missing := d.smallestPod(name, registry+"/spillway-doctor/missing:none")
	if _, err := d.cloud.CreatePod(ctx, d.namespace(), missing); err != nil {
		return d.refusedPod(err)
	}
	defer d.discard(ctx, name)
	var pod *cci.Pod
	// A kubelet says ErrImagePull first, and ImagePullBackOff from the second attempt on. If the cloud has other words,
	// there is no need to wait for the end of the step.
	var enough time.Time
	err := d.await(ctx, func() (bool, error) {
		var err error
		if pod, err = d.cloud.GetPod(ctx, d.namespace(), name); err != nil {
			return false, err
		}
		if isPullFailure(pod) && enough.IsZero() {
			enough = time.Now().Add(d.options.StepTimeout / 4)
		}
		return strings.Contains(wordsOf(pod), "BackOff") || pod.Status.Phase == corev1.PodFailed ||
			!enough.IsZero() && time.Now().After(enough), nil
	})
	if err != nil && (pod == nil || !errors.Is(err, context.DeadlineExceeded)) {
		return "", nil, err
	}
	return "", []diagnosis.Finding{found(CodePullWords, "the Pod is %s: %s", pod.Status.Phase, wordsOf(pod))}, nil
}

// impossibleSize creates a Pod of a size that is not sold, for what the cloud says then.
func impossibleSize(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	const name = namePrefix + "size"
	pod := d.smallestPod(name, d.options.Image)
	huge := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("1000"), corev1.ResourceMemory: resource.MustParse("4000Gi"),
	}
	pod.Spec.Containers[0].Resources = cci.Resources{Requests: huge, Limits: huge}
	created, err := d.cloud.CreatePod(ctx, d.namespace(), pod)
	if err == nil {
		defer d.discard(ctx, name)
		return "", []diagnosis.Finding{
			found(CodeSizeAccepted, "a Pod with 1000 CPU and 4000Gi is %s", created.Status.Phase),
		}, nil
	}
	if refused := refusal(err); refused != nil || !cci.IsPermanent(err) {
		return d.refusedPod(err)
	}
	return "", []diagnosis.Finding{found(CodeSizeWords, "%s", quote(err))}, nil
}

// discard deletes a Pod. What it cannot delete, the end of the run deletes.
func (d *Doctor) discard(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.config.CCI.RequestTimeout.Duration)
	defer cancel()
	_ = d.cloud.DeletePod(ctx, d.namespace(), name, cci.DeleteOptions{GraceSeconds: new(int64)})
}

// Lost lists the fields of a JSON document that another one does not have, or has with another value, as paths such as
// spec.containers[0].image. Quantities that are equal do not differ, and neither do lists of names in another order.
func Lost(sent, kept []byte) ([]string, error) {
	var before, after any
	if err := json.Unmarshal(sent, &before); err != nil {
		return nil, fmt.Errorf("decoding what was sent: %w", err)
	}
	if err := json.Unmarshal(kept, &after); err != nil {
		return nil, fmt.Errorf("decoding what came back: %w", err)
	}
	var lost []string
	compare("", before, after, &lost)
	slices.Sort(lost)
	return lost, nil
}

func compare(path string, before, after any, lost *[]string) {
	switch b := before.(type) {
	case map[string]any:
		a, ok := after.(map[string]any)
		if !ok {
			*lost = append(*lost, path)
			return
		}
		for key, value := range b {
			compare(strings.TrimPrefix(path+"."+key, "."), value, a[key], lost)
		}
	case []any:
		a, ok := after.([]any)
		if !ok || len(a) < len(b) {
			*lost = append(*lost, path)
			return
		}
		for i := range b {
			compare(fmt.Sprintf("%s[%d]", path, i), b[i], find(b[i], i, a), lost)
		}
	default:
		if before != nil && before != after && !equalQuantities(before, after) {
			*lost = append(*lost, path)
		}
	}
}

// find returns the element of a list that belongs to one of another list: that of the same name, or else at the same
// position. The service may add elements.
func find(element any, i int, list []any) any {
	named, ok := element.(map[string]any)
	if ok && named["name"] != nil {
		for _, candidate := range list {
			if other, ok := candidate.(map[string]any); ok && other["name"] == named["name"] {
				return other
			}
		}
	}
	if text, ok := element.(string); ok && slices.Contains(list, any(text)) {
		return element
	}
	return list[i]
}

func equalQuantities(before, after any) bool {
	b, okB := before.(string)
	a, okA := after.(string)
	if !okA || !okB {
		return false
	}
	first, errB := resource.ParseQuantity(b)
	second, errA := resource.ParseQuantity(a)
	return errA == nil && errB == nil && first.Equal(second)
}

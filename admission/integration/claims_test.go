package integration

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// Kubernetes creates the claims of a StatefulSet milliseconds before its Pods, and the claims of ephemeral volumes
// after the Pods. enforce must have its effect although the cache lacks those claims.
func TestEnforceWorksForClaimsThatTheCacheLacks(t *testing.T) {
	classes := trial.Client().StorageV1().StorageClasses()
	for name, provisioner := range map[string]string{"shared": "nas.csi.everest.io", "disk": "disk.csi.everest.io"} {
		class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner}
		_, err := classes.Create(t.Context(), class, metav1.CreateOptions{})
		require.NoError(t, err)
		t.Cleanup(func() {
			assert.NoError(t, classes.Delete(context.Background(), name, metav1.DeleteOptions{}))
		})
	}
	p := validated(t)
	local := outline{Label: "enforce", Marked: true}
	const warning = "PersistentVolumeKind: the claim of volume data is a volume of kind disk.csi.everest.io: " +
		"the cloud can mount nas.csi.everest.io, sfsturbo.csi.everest.io"
	for name, test := range map[string]struct {
		spec, kind string
		pods       int
		want       outline
		warning    string
	}{
		"a StatefulSet": {claimTemplate("shared"), "StatefulSet", 10, enforced, ""},
		"a StatefulSet that the cloud cannot run":         {claimTemplate("disk"), "StatefulSet", 3, local, warning},
		"an ephemeral volume":                             {ephemeral("shared"), "Deployment", 3, enforced, ""},
		"an ephemeral volume that the cloud cannot mount": {ephemeral("disk"), "Deployment", 1, local, warning},
	} {
		t.Run(name, func(t *testing.T) {
			ns := namespace(t, nil)
			printed, err := kubectl(t, ns, manifest("apps/v1", test.kind, "enforce", test.spec), "apply", "--filename", "-")
			require.NoError(t, err, printed)
			assert.Contains(t, printed, test.warning)
			assert.Equal(t, test.warning != "", strings.HasPrefix(printed, "Warning: "), printed)
			for _, pod := range pods(t, ns, test.pods) {
				got := outlineOf(&pod)
				assert.Equal(t, test.want, got)
				assert.Equal(t, test.want.Tolerates, policy.ToleratesProvider(&pod.Spec))
			}
		})
	}
	assert.Zero(t, p.metric(t, "spillway_admission_webhook_requests_total", "failed"))
}

func claimTemplate(class string) string {
	replicas := map[string]string{"shared": "10", "disk": "3"}[class]
	return "replicas: " + replicas + ", podManagementPolicy: Parallel, " + selectorAnd(template("")) +
		", volumeClaimTemplates: [{metadata: {name: data}, spec: " + claimSpec(class) + "}]"
}

func ephemeral(class string) string {
	replicas := map[string]string{"shared": "3", "disk": "1"}[class]
	return "replicas: " + replicas + ", selector: {matchLabels: {app: x}}, " +
		"template: {metadata: {labels: {app: x}}, spec: {containers: [{name: c, image: web}], " +
		"volumes: [{name: data, ephemeral: {volumeClaimTemplate: {spec: " + claimSpec(class) + "}}}]}}"
}

func claimSpec(class string) string {
	return "{storageClassName: " + class + ", accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}}"
}

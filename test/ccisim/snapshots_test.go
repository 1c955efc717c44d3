package ccisim_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/test/ccisim"
)

const snapshotsPath = "/apis/cci/v2/imagesnapshots"

func snapshotBody(name string, images ...string) object {
	list := []object{}
	for _, image := range images {
		list = append(list, object{"image": image})
	}
	return object{"metadata": object{"name": name}, "spec": object{
		"buildingConfig": object{"namespace": "ns", "timeoutMinutes": 30}, "images": list, "imageSnapshotSize": 30,
		"registries": []object{{"server": "swr.example.com", "imagePullSecret": "imagepull-secret"}},
	}}
}

func TestASnapshotIsMadeByAPod(t *testing.T) {
	b := newNamespaceEnv(t)
	b.want(http.StatusCreated, "POST", snapshotsPath, snapshotBody("web", "nginx", "redis"))
	var snapshot ccisim.ImageSnapshot
	require.Equal(t, http.StatusOK, b.get(snapshotsPath+"/web", &snapshot))
	assert.Equal(t, "Creating", snapshot.Status.Phase)
	maker := podsPath + "/cci-imagesnapshot-" + string(snapshot.UID)
	require.Equal(t, http.StatusOK, b.get(maker, &ccisim.Pod{}))
	b.eventually(func() bool {
		return b.get(snapshotsPath+"/web", &snapshot) == http.StatusOK && snapshot.Status.Phase == "Available"
	}, "it becomes available")
	require.Len(t, snapshot.Status.Images, 2)
	assert.NotEmpty(t, snapshot.Status.Images[0].Digest)
	b.eventually(func() bool { return b.get(maker, &ccisim.Pod{}) == http.StatusNotFound }, "its Pod is removed")

	b.want(http.StatusConflict, "POST", snapshotsPath, snapshotBody("web", "nginx"))
	b.want(http.StatusMethodNotAllowed, "PUT", snapshotsPath+"/web", snapshotBody("web", "nginx"))
	b.want(http.StatusOK, "DELETE", snapshotsPath+"/web", nil)
	b.eventually(func() bool { return b.get(snapshotsPath+"/web", &snapshot) == http.StatusNotFound }, "it is removed")
}

func TestSnapshotsThatAreRefused(t *testing.T) {
	b := newNamespaceEnv(t)
	for name, test := range map[string]struct {
		change func(spec object)
		status int
		want   string
	}{
		"no image":            {func(s object) { s["images"] = []object{} }, 422, "spec.images"},
		"eleven images":       {func(s object) { s["images"] = make([]object, 11) }, 422, "spec.images"},
		"an image twice":      {func(s object) { s["images"] = []object{{"image": "a"}, {"image": "a"}} }, 422, "Duplicate"},
		"a nameless registry": {func(s object) { s["registries"] = []object{{"plainHTTP": true}} }, 422, "server"},
		"no namespace":        {func(s object) { s["buildingConfig"] = object{} }, 422, "buildingConfig.namespace"},
		"a short timeout": {func(s object) {
			s["buildingConfig"] = object{"namespace": "ns", "timeoutMinutes": 5}
		}, 422, "timeoutMinutes"},
		"a namespace that does not exist": {func(s object) {
			s["buildingConfig"] = object{"namespace": "none"}
		}, 404, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			body := snapshotBody("web", "nginx")
			test.change(body["spec"].(object))
			a := b.do("POST", snapshotsPath, body)
			assert.Equal(t, test.status, a.status, string(a.body))
			assert.Contains(t, string(a.body), test.want)
		})
	}
}

func TestRegionsWithoutSnapshots(t *testing.T) {
	for name, test := range map[string]struct {
		policies ccisim.Policies
		want     string
	}{
		"the gateway does not know them":    {ccisim.Policies{Unpublished: []string{"imagesnapshots"}}, "APIG.0101"},
		"the API server does not know them": {ccisim.Policies{NoSnapshots: true}, "could not find the requested resource"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newNamespaceEnv(t, func(c *ccisim.Config) { c.Policies = test.policies })
			a := b.do("GET", snapshotsPath, nil)
			assert.Equal(t, http.StatusNotFound, a.status)
			assert.Contains(t, string(a.body), test.want)
		})
	}
}

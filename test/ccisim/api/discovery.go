package api

import (
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
)

// discover serves /apis and /apis/{group}/v2.
func discover(path, method string) (*reply, *apiError) {
	if method != http.MethodGet {
		return nil, codedError(http.StatusMethodNotAllowed, "",
			"the server does not allow this method on the requested resource")
	}
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if len(parts) == 1 {
		return jsonReply(http.StatusOK, mustEncode(apiGroups())), nil
	}
	return jsonReply(http.StatusOK, mustEncode(apiResources(parts[1]))), nil
}

func apiGroups() metav1.APIGroupList {
	out := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIGroupList"}}
	for _, name := range []string{objects.GroupCCI, objects.GroupYangtse} {
		served := metav1.GroupVersionForDiscovery{GroupVersion: name + "/" + objects.Version, Version: objects.Version}
		out.Groups = append(out.Groups, metav1.APIGroup{
			Name: name, Versions: []metav1.GroupVersionForDiscovery{served}, PreferredVersion: served,
		})
	}
	return out
}

// apiResources lists a group as the live service does: without events.
func apiResources(groupName string) metav1.APIResourceList {
	out := metav1.APIResourceList{
		TypeMeta:     metav1.TypeMeta{APIVersion: "v1", Kind: "APIResourceList"},
		GroupVersion: groupName + "/" + objects.Version,
		APIResources: []metav1.APIResource{},
	}
	for _, res := range objects.All {
		if res.Group != groupName || res == objects.Events {
			continue
		}
		out.APIResources = append(out.APIResources, metav1.APIResource{
			Name: res.Plural, Kind: res.Kind, Namespaced: res.Namespaced, Verbs: res.Verbs,
		})
		if res == objects.Pods {
			out.APIResources = append(out.APIResources,
				metav1.APIResource{Name: "pods/log", Kind: "Pod", Namespaced: true, Verbs: []string{"get"}},
				metav1.APIResource{Name: "pods/exec", Kind: "Pod", Namespaced: true, Verbs: []string{"create", "get"}})
		}
	}
	return out
}

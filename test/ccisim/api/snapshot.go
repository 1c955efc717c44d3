package api

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

const (
	// maxSnapshotImages and maxRegistries are limits of one snapshot, minSnapshotTimeout and maxSnapshotTimeout those of
	// timeoutMinutes. Source: the schema's texts of ImageSnapshotSpec and BuildingConfig.
	maxSnapshotImages, maxRegistries = 10, 10

	minSnapshotTimeout, maxSnapshotTimeout = 30, 10080
)

func snapshotFields(meta fields) fields {
	building := names("autoCreateEIP", "dnsServers", "eipID", "namespace", "timeoutMinutes").with(fields{
		"autoCreateEIPAttribute": group(names("bandwidthChargeMode", "bandwidthID", "bandwidthSize", "ipVersion", "type")),
	})
	return topFields(meta, fields{"spec": group(names("imageSnapshotSize", "ttlDaysAfterCreated").with(fields{
		"buildingConfig": group(building),
		"images":         group(names("image")),
		"registries":     group(names("imagePullSecret", "insecureSkipVerify", "plainHTTP", "server")),
	}))})
}

// snapshotAdmission admits snapshots of images. They have no update.
type snapshotAdmission struct{ plain }

func (snapshotAdmission) prepare(_ *Server, caller *Credential, obj objects.Object) *apiError {
	snapshot := obj.(*objects.ImageSnapshot)
	if errs := checkSnapshot(snapshot.Spec); len(errs) > 0 {
		return invalid(objects.Snapshots, snapshot.Name, errs)
	}
	objects.SetAnnotation(&snapshot.ObjectMeta, objects.AnnotationTenant, caller.ProjectID)
	for name, value := range map[string]string{
		labelEnterprise: "0", objects.AnnotationTenant: caller.ProjectID, labelProject: caller.ProjectID,
		labelDomain: caller.DomainID,
	} {
		objects.SetLabel(&snapshot.ObjectMeta, name, value)
	}
	snapshot.Status.Phase = objects.SnapshotCreating
	return nil
}

func checkSnapshot(spec objects.ImageSnapshotSpec) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec")
	if n := len(spec.Images); n < 1 || n > maxSnapshotImages {
		errs = append(errs, field.Invalid(path.Child("images"), n, fmt.Sprintf("must be 1 to %d images", maxSnapshotImages)))
	}
	seen := map[string]bool{}
	for i, image := range spec.Images {
		switch at := path.Child("images").Index(i).Child("image"); {
		case image.Image == "":
			errs = append(errs, field.Required(at, ""))
		case seen[image.Image]:
			errs = append(errs, field.Duplicate(at, image.Image))
		}
		seen[image.Image] = true
	}
	if n := len(spec.Registries); n > maxRegistries {
		errs = append(errs, field.TooMany(path.Child("registries"), n, maxRegistries))
	}
	for i, registry := range spec.Registries {
		if registry.Server == "" {
			errs = append(errs, field.Required(path.Child("registries").Index(i).Child("server"), ""))
		}
	}
	building := path.Child("buildingConfig")
	if spec.BuildingConfig.Namespace == "" {
		errs = append(errs, field.Required(building.Child("namespace"), "the Pod that pulls the images runs in it"))
	}
	if m := spec.BuildingConfig.TimeoutMinutes; m != 0 && (m < minSnapshotTimeout || m > maxSnapshotTimeout) {
		errs = append(errs, field.Invalid(building.Child("timeoutMinutes"), m,
			fmt.Sprintf("must be from %d to %d", minSnapshotTimeout, maxSnapshotTimeout)))
	}
	if spec.ImageSnapshotSize < 0 || spec.TTLDaysAfterCreated < 0 {
		errs = append(errs, field.Invalid(path, spec.TTLDaysAfterCreated, "numbers must be zero or more"))
	}
	return errs
}

func (snapshotAdmission) admit(v store.View, obj objects.Object) *apiError {
	namespace := obj.(*objects.ImageSnapshot).Spec.BuildingConfig.Namespace
	if v.NamespacePhase(namespace) != corev1.NamespaceActive {
		return notFound(objects.Namespaces, namespace)
	}
	return nil
}

// AddImageSnapshotPod adds a Pod to a namespace as the image snapshot maker of the service does: no client has
// requested it, and none may change it. It returns the name of the Pod.
func (s *Server) AddImageSnapshotPod(namespace string) (name string, err error) {
	s.store.Update(func(tx store.Tx) {
		if tx.NamespacePhase(namespace) != corev1.NamespaceActive {
			err = fmt.Errorf("adding an image snapshot pod: namespace %s is not active", namespace)
			return
		}
		name = objects.MakerPrefix + string(uuid.NewUUID())
		err = s.addMaker(tx, namespace, name)
	})
	return name, err
}

// addMaker adds the Pod that makes a snapshot. Its size is that of the vendor's: it is billed.
func (s *Server) addMaker(tx store.Tx, namespace, name string) error {
	pod := &objects.Pod{}
	pod.SetType(s.apiVersion(objects.Pods), objects.Pods.Kind)
	objects.Stamp(pod, s.cfg.Clock.Now())
	pod.Name, pod.Namespace = name, namespace
	pod.Finalizers = []string{objects.PodFinalizer}
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	pod.Spec.Containers = []corev1.Container{{Name: "snapshot", Image: "cci/image-snapshot:v1"}}
	setPodDefaults(pod)
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: qosClass(pod)}
	if _, err := tx.Put(objects.Pods, pod); err != nil {
		return err
	}
	s.life.Stored(tx, objects.Pods, pod)
	return nil
}

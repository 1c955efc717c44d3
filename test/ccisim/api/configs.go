package api

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
)

// maxDataSize is the limit of Kubernetes for the data of a ConfigMap or Secret. That of CCI is not documented.
const maxDataSize = 1 << 20

// configMapAdmission admits ConfigMaps.
type configMapAdmission struct{ plain }

func (configMapAdmission) prepare(s *Server, caller *Credential, obj objects.Object) *apiError {
	s.setTenant(obj, caller)
	return checkConfigMap(obj.(*objects.ConfigMap))
}

// setTenant sets the labels and the annotation that CCI 2.0 gives to ConfigMaps and Secrets.
func (s *Server) setTenant(obj objects.Object, caller *Credential) {
	if s.cfg.Generation == objects.CCI2 {
		setTenantLabels(obj.Meta(), caller)
		objects.SetAnnotation(obj.Meta(), objects.AnnotationTenant, caller.ProjectID)
	}
}

func (configMapAdmission) prepareUpdate(old, next objects.Object) *apiError {
	was, will := old.(*objects.ConfigMap), next.(*objects.ConfigMap)
	keepServerKeys(&was.ObjectMeta, &will.ObjectMeta)
	same := apiequality.Semantic.DeepEqual(was.Data, will.Data) &&
		apiequality.Semantic.DeepEqual(was.BinaryData, will.BinaryData)
	if refusal := checkImmutable(objects.ConfigMaps, will.Name, was.Immutable, will.Immutable, same); refusal != nil {
		return refusal
	}
	return checkConfigMap(will)
}

func checkConfigMap(c *objects.ConfigMap) *apiError {
	keys, size := []string{}, 0
	for k, v := range c.Data {
		keys, size = append(keys, k), size+len(v)
	}
	for k, v := range c.BinaryData {
		keys, size = append(keys, k), size+len(v)
	}
	return checkData(objects.ConfigMaps, c.Name, keys, size)
}

// secretTypes are the types that CCI 2.0 documents. Source: the schema's text of Secret.
var secretTypes = []corev1.SecretType{
	corev1.SecretTypeOpaque, corev1.SecretTypeDockercfg, corev1.SecretTypeDockerConfigJson, corev1.SecretTypeTLS,
}

// secretAdmission admits Secrets.
type secretAdmission struct{ plain }

func (secretAdmission) prepare(s *Server, caller *Credential, obj objects.Object) *apiError {
	secret := obj.(*objects.Secret)
	s.setTenant(obj, caller)
	mergeStringData(secret)
	secret.Type = cmp.Or(secret.Type, corev1.SecretTypeOpaque)
	if s.cfg.Generation == objects.CCI2 && s.cfg.Faults.Policies().SecretTypes == faults.DocumentedLimits &&
		!slices.Contains(secretTypes, secret.Type) {
		return invalid(objects.Secrets, secret.Name,
			field.ErrorList{field.NotSupported(field.NewPath("type"), secret.Type, secretTypes)})
	}
	return checkSecret(secret)
}

func (secretAdmission) prepareUpdate(old, next objects.Object) *apiError {
	was, will := old.(*objects.Secret), next.(*objects.Secret)
	keepServerKeys(&was.ObjectMeta, &will.ObjectMeta)
	mergeStringData(will)
	will.Type = cmp.Or(will.Type, was.Type)
	if was.Type != will.Type {
		return invalid(objects.Secrets, will.Name,
			field.ErrorList{field.Invalid(field.NewPath("type"), will.Type, "field is immutable")})
	}
	same := apiequality.Semantic.DeepEqual(was.Data, will.Data)
	if refusal := checkImmutable(objects.Secrets, will.Name, was.Immutable, will.Immutable, same); refusal != nil {
		return refusal
	}
	return checkSecret(will)
}

// mergeStringData moves the write-only stringData into data.
func mergeStringData(secret *objects.Secret) {
	for k, v := range secret.StringData {
		if secret.Data == nil {
			secret.Data = map[string][]byte{}
		}
		secret.Data[k] = []byte(v)
	}
	secret.StringData = nil
}

func checkSecret(secret *objects.Secret) *apiError {
	keys, size := []string{}, 0
	for k, v := range secret.Data {
		keys, size = append(keys, k), size+len(v)
	}
	if _, ok := secret.Data[corev1.DockerConfigJsonKey]; !ok && secret.Type == corev1.SecretTypeDockerConfigJson {
		return invalid(objects.Secrets, secret.Name,
			field.ErrorList{field.Required(field.NewPath("data").Key(corev1.DockerConfigJsonKey), "")})
	}
	return checkData(objects.Secrets, secret.Name, keys, size)
}

func checkData(res *objects.Resource, name string, keys []string, size int) *apiError {
	var errs field.ErrorList
	path := field.NewPath("data")
	for _, k := range keys {
		for _, message := range validation.IsConfigMapKey(k) {
			errs = append(errs, field.Invalid(path.Key(k), k, message))
		}
	}
	if size > maxDataSize {
		errs = append(errs, field.TooLong(path, "", maxDataSize))
	}
	if len(errs) > 0 {
		return invalid(res, name, errs)
	}
	return nil
}

func checkImmutable(res *objects.Resource, name string, was, will *bool, same bool) *apiError {
	if was == nil || !*was {
		return nil
	}
	if will == nil || !*will || !same {
		return invalid(res, name, field.ErrorList{field.Forbidden(field.NewPath("data"),
			fmt.Sprintf("field is immutable when `immutable` is set in %s", name))})
	}
	return nil
}

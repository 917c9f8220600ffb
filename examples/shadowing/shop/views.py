from django.apps import apps
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ValidationError
from django.http import Http404
from django.shortcuts import redirect, render

from overlay.rows import differences, discard, is_overlaid, keep, overlaid_models


def difference_list(request):
    """Show the rows of all overlaid models that differ from the snapshot. A POST discards rows.

    The POST has ``model``, a label, and ``key``. Without a key, it discards all rows of the model.
    Without a model, it discards the rows of all models. With ``keep``, it keeps these rows instead,
    and settles their conflicts.
    """
    if request.method == "POST":
        if not request.user.is_authenticated:
            return redirect_to_login(request.path)
        settle = keep if "keep" in request.POST else discard
        for model, keys in chosen(request.POST):
            settle(model, keys)
        return redirect("difference_list")
    found = [(model, list(differences(model))) for model in overlaid_models()]
    context = {"found": [(model._meta, rows) for model, rows in found if rows]}
    return render(request, "differences.html", context)


def chosen(data):
    """Return pairs of a model and a list of keys from the POST. None stands for all keys."""
    if "model" not in data:
        return [(model, None) for model in overlaid_models()]
    try:
        model = apps.get_model(data["model"])
        keys = [model._meta.pk.to_python(data["key"])] if "key" in data else None
    except (LookupError, ValueError, ValidationError) as error:
        raise Http404("There is no such row.") from error
    if not is_overlaid(model):
        raise Http404(f"{model._meta.label} is not overlaid.")
    return [(model, keys)]

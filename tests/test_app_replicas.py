"""The app ``replicas`` in another project, installed by its docstring alone."""

import pytest
from bare import BareProject

MODELS = """
    from django.db import models

    class Note(models.Model):
        text = models.CharField(max_length=100)
"""
VIEWS = """
    from django.http import JsonResponse
    from django.views.decorators.csrf import csrf_exempt

    from notes.models import Note

    @csrf_exempt
    def notes(request):
        if request.method == "POST":
            Note.objects.create(text=request.POST["text"])
        return JsonResponse({"texts": [note.text for note in Note.objects.all()]})
"""
URLS = """
    from django.urls import path

    from notes.views import notes

    urlpatterns = [path("", notes)]
"""
# The responses to two browsers, each with its own cookies.
BROWSERS = """
    from django.conf import settings
    from django.test import Client

    settings.ALLOWED_HOSTS = ["testserver"]
    writer, other = Client(), Client()
    print("before", writer.get("/").json()["texts"], other.get("/").json()["texts"])
    writer.post("/", {"text": "wind the clock"})
    print("after", writer.get("/").json()["texts"], other.get("/").json()["texts"])
"""
# Each line of the docstring, and the message when the line is missing.
LINES = {
    'INSTALLED_APPS += ["replicas"]': 'add "replicas" to INSTALLED_APPS',
    'MIDDLEWARE = ["replicas.consistency.ReadYourWritesMiddleware", *MIDDLEWARE]': "replicas.E005",
    'DATABASE_ROUTERS = ["replicas.routers.ReplicaRouter"]': "replicas.W007",
    'REPLICAS = {"default": ["replica1"]}': "replicas.E001",
    'REPLICA_POSITION = "replicas.positions.LogPosition"': "replicas.E008",
    '"TEST": {"MIRROR": "default"},': "replicas.E003",
    "REPLICA_MAX_LAG = 60": "replicas.E013",
    "REPLICA_RETRY = 10": "replicas.E013",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = BareProject(tmp_path_factory.mktemp("bare") / "project", MODELS)
    project.write("notes/views.py", VIEWS)
    project.write("site_/urls.py", URLS)
    project.take("replication", "replicas", "replication")
    project.follow("replicas")
    return project


def test_the_docstring_is_enough(project):
    assert "no issues" in project.manage("check")
    project.manage("makemigrations", "notes", "-v", "0")
    project.manage("migrate", "-v", "0")
    assert "replica1: a snapshot" in project.manage("replicate", "--snapshot")
    # No process replicates, so the replica does not change.
    assert project.shell(BROWSERS).splitlines() == ["before [] []", "after ['wind the clock'] []"]
    assert "1 change applied" in project.manage("replicate")
    assert project.shell(BROWSERS).splitlines()[0] == (
        "before ['wind the clock'] ['wind the clock']"
    )


@pytest.mark.parametrize(("line", "said"), LINES.items())
def test_a_line_that_is_left_out_is_said(project, line, said):
    settings = (project.folder / "site_/settings.py").read_text()
    project.replace("site_/settings.py", line, "")
    try:
        if "INSTALLED_APPS" in line:
            # An app that is not installed has no checks. Its middleware checks this at start-up.
            assert said in project.manage(
                "shell",
                "-c",
                "from django.core.wsgi import get_wsgi_application as start; start()",
                status=1,
            )
        else:
            assert said in project.manage("check", "--fail-level", "WARNING", status=1)
    finally:
        project.write("site_/settings.py", settings)

"""The routes of jobs."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from landmarks.serving.errors import RequestError
from landmarks.serving.jobs.archive import images_of
from landmarks.serving.jobs.runner import Asker, JobRunner
from landmarks.serving.jobs.store import Job, JobStore
from landmarks.serving.middleware.admission import Ticket
from landmarks.serving.middleware.intake import read_files
from landmarks.serving.routes import PICTURES, ModelName, errors, only_known_parameters
from landmarks.serving.schemas import Photo
from landmarks.serving.service import Service
from landmarks.serving.settings import JobLimits

Result = TypeVar("Result")

_MOST_RESULTS = 1000
_EXAMPLE: dict[str, Any] = {**Photo.model_json_schema()["examples"][0], "number": 0, "model": "world-5d1f0c3a9b7e"}


class JobCard(BaseModel):
    """The state of a job."""

    id: str
    state: Literal["running", "done"]
    model: str | None = Field(description="Name of the model that was asked for.")
    images: int
    done: int = Field(description="Number of images with a result.")
    failed: int = Field(description="Number of images whose result is an error.")
    created: float = Field(description="Unix time.")
    expires: float | None = Field(description="Unix time at which a finished job is deleted.")


class NewJob(JobCard):
    """A job that was just accepted."""

    skipped: dict[str, int] = Field(description="Number of files in archives that were left out, by reason.")


class JobPhoto(Photo):
    """The result of one image of a job."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    number: int = Field(description="Its place in the job, from 0.")
    model: str = Field(description="Version of the model that gave it; empty if none did.")


class JobResults(BaseModel):
    """A part of the results of a job, in the order of its images, up to the first one without a result yet."""

    photos: list[JobPhoto]
    next: int | None = Field(
        description="`start` of the next part, which may still have to be analysed; null once all has been read."
    )


def jobs_router(service: Service, runner: JobRunner, limits: JobLimits) -> APIRouter:
    """Return the routes of jobs."""
    router = APIRouter(prefix="/v1/jobs", dependencies=[Depends(only_known_parameters)])
    missing: dict[int | str, dict[str, Any]] = errors(401, 403, 404, 422, 503)

    async def find(request: Request, job_id: str, read: Callable[[JobStore, Job], Result]) -> Result:
        """Find a job and read something of it, in one go: it may be deleted at any time."""
        owner = _owner(request)

        def found(store: JobStore) -> Result | None:
            job = store.find(job_id, owner)
            return None if job is None else read(store, job)

        result = await runner.call(found, _asker(request))
        if result is None:
            raise RequestError("not_found", "there is no such job, or its time is over")
        return result

    def card(job: Job) -> JobCard:
        expires = None if job.finished is None else job.finished + limits.job_hours * 3600
        state: Literal["running", "done"] = "running" if job.finished is None else "done"
        counts = {"images": job.images, "done": job.done, "failed": job.failed}
        return JobCard(id=job.id, state=state, model=job.model, created=job.created, expires=expires, **counts)

    @router.post(
        "",
        summary="Tag many photos in the background",
        status_code=202,
        response_model=NewJob,
        responses=errors(400, 401, 403, 408, 413, 415, 422, 429, 503),
        openapi_extra=PICTURES,
    )
    async def create_job(request: Request, model: ModelName = None) -> Response:
        """Accept the files of a form, or ZIP archives of files; `GET /v1/jobs/{job_id}` tells how far they are."""
        service.catalog.find(model)
        ticket: Ticket = request.state.ticket
        uploads = await read_files(request, limits.job_files)
        max_file_bytes = service.settings.limits.max_file_bytes
        listing = partial(images_of, uploads, limits, max_file_bytes)
        images, skipped = await service.thread.run(ticket.client, listing, ticket.spend)
        with ticket.accepting(len(images)):
            job = await runner.add(_owner(request), model, images, _asker(request))
        body = card(job).model_dump() | {"skipped": skipped}
        return JSONResponse(body, 202, {"Location": f"jobs/{job.id}"})  # relative: a proxy may cut a prefix off

    @router.get("/{job_id}", summary="State of a job", responses=missing)
    async def job(request: Request, job_id: str) -> JobCard:
        """Return how far a job is."""
        return card(await find(request, job_id, lambda _store, job: job))

    @router.get("/{job_id}/results", summary="Results of a job", response_model=JobResults, responses=missing)
    async def job_results(
        request: Request,
        job_id: str,
        start: Annotated[int, Query(ge=0, lt=2**31, description="Number of the first image.")] = 0,
        limit: Annotated[int, Query(ge=1, le=_MOST_RESULTS)] = _MOST_RESULTS,
    ) -> Response:
        """Return results in the order of the images, also while the job is running."""
        photos, following = await find(request, job_id, lambda store, _job: store.results(job_id, start, limit))
        body = f'{{"photos":[{",".join(photos)}],"next":{json.dumps(following)}}}'
        return Response(body, media_type="application/json")

    @router.delete("/{job_id}", summary="Delete a job", status_code=204, responses=missing)
    async def delete_job(request: Request, job_id: str) -> Response:
        """Delete a job with its images and results, whatever its state."""
        if not await runner.delete(job_id, _owner(request), _asker(request)):
            raise RequestError("not_found", "there is no such job, or its time is over")
        return Response(status_code=204)

    return router


def _owner(request: Request) -> str:
    """Return the name of the key of a request: it sees the jobs of that name, whichever key made them."""
    quota = request.state.quota
    return "" if quota is None else str(quota.key.name)


def _asker(request: Request) -> Asker:
    return Asker(request.state.client, request.state.spend)

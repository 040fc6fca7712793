"""The endpoints that every pipeline has, one module for each subject. A module's ``add_routes`` adds its endpoints.

A new endpoint is a method and its path in one of these modules; a new subject is a module and its line in ``ROUTERS``.
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI

from tidemill.api.context import RouteContext
from tidemill.api.routers import (
    across,
    batches,
    importance,
    items,
    models,
    points,
    predict,
    ratings,
    recommend,
    rows,
    run,
    similar,
    verdict,
)

ROUTERS: tuple[Callable[[FastAPI, RouteContext], None], ...] = (
    predict.add_routes,  # first, since routes are tried in order and most requests are predictions
    across.add_routes,
    rows.add_routes,
    run.add_routes,
    batches.add_routes,
    models.add_routes,
    points.add_routes,
    ratings.add_routes,
    recommend.add_routes,
    items.add_routes,
    similar.add_routes,
    verdict.add_routes,
    importance.add_routes,
)

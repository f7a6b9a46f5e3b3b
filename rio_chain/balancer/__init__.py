"""The balancer: one priority queue and its workers in front of an executor."""

from rio_chain.balancer._balancer import Balancer
from rio_chain.balancer._every_method import Schedule
from rio_chain.balancer._health import Health
from rio_chain.balancer._resources import ResourceUse
from rio_chain.balancer._schedule import ScheduleCounts
from rio_chain.balancer._stats import Histogram, Stats
from rio_chain.executors._ticket import Ticket

__all__ = ["Balancer", "Health", "Histogram", "ResourceUse", "Schedule", "ScheduleCounts", "Stats", "Ticket"]

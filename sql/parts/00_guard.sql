\echo Use "CREATE EXTENSION spool" to load this file. \quit


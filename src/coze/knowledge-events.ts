import { topic } from '../topic/definition.ts'
import { cozeCodec } from './codec.ts'
import { knowledgeTopic } from './names.ts'
import { eventSchema } from './schema.ts'

export type KnowledgeEventType = 'index_documents' | 'index_document' | 'index_slice' | 'delete_knowledge_data' | 'document_review'

/** A job on a knowledge base (backend/domain/knowledge/entity/event.go); Go writes every field. */
export interface KnowledgeEvent {
  Type: KnowledgeEventType
  Documents: KnowledgeDocument[] | null
  Document: KnowledgeDocument | null
  Slice: KnowledgeSlice | null
  SliceIDs: bigint[] | null
  KnowledgeID: bigint
  DocumentReview: DocumentReview | null
}

export interface KnowledgeInfo {
  ID: bigint
  Name: string
  Description: string
  IconURI: string
  IconURL: string
  CreatorID: bigint
  SpaceID: bigint
  AppID: bigint
  CreatedAtMs: number
  UpdatedAtMs: number
  DeletedAtMs: number
}

export interface KnowledgeDocument extends KnowledgeInfo {
  KnowledgeID: bigint
  /** 0 text, 1 table, 2 image, 9 unknown. */
  Type: number
  RawContent: string
  URI: string
  URL: string
  Size: number
  SliceCount: number
  CharCount: number
  FileExtension: string
  /** -1 new, 0 being uploaded, 1 in use, 2 out of use, 3 deleted, 4 being cut, 9 failed. */
  Status: number
  StatusMsg: string
  Hits: number
  /** 0 a file, 2 written by hand. */
  Source: number
  ParsingStrategy: ParsingStrategy | null
  ChunkingStrategy: ChunkingStrategy | null
  TableInfo: TableInfo
  IsAppend: boolean
}

export interface ParsingStrategy {
  /** 0 fast, 1 accurate. */
  parsing_type: number
  extract_image: boolean
  extract_table: boolean
  image_ocr: boolean
  filter_pages: number[] | null
  sheet_id: number
  header_line: number
  data_start_line: number
  rows_count: number
  caption_type: number | null
}

export interface ChunkingStrategy {
  /** 0 default, 1 custom, 2 by levels. */
  chunk_type: number
  chunk_size: number
  separator: string
  overlap: number
  trim_space: boolean
  trim_url_and_email: boolean
  max_depth: number
  save_title: boolean
}

export interface TableInfo {
  virtual_table_name: string
  physical_table_name: string
  table_desc: string
  columns: TableColumn[] | null
}

export interface TableColumn {
  ID: bigint
  Name: string
  /** 0 unknown, 1 text, 2 integer, 3 time, 4 number, 5 boolean, 6 image. */
  Type: number
  Description: string
  Indexing: boolean
  Sequence: number
}

export interface KnowledgeSlice extends KnowledgeInfo {
  KnowledgeID: bigint
  DocumentID: bigint
  DocumentName: string
  RawContent: SliceContent[] | null
  SliceStatus: number
  ByteCount: number
  CharCount: number
  Sequence: number
  Hit: number
  Extra: Record<string, string> | null
}

export interface SliceContent {
  /** 0 text, 2 table. */
  Type: number
  Text: string | null
  Image: { Base64: string | null; URI: string; OCR: boolean; OCRText: string | null } | null
  Table: { Columns: TableCell[] | null } | null
}

export interface TableCell {
  ColumnID: bigint
  ColumnName: string
  Type: number
  ValString: string | null
  /** A `bigint` where a number would not hold it. */
  ValInteger: number | bigint | null
  ValTime: string | null
  ValNumber: number | null
  ValBoolean: boolean | null
  ValImage: string | null
}

export interface DocumentReview {
  ReviewID: bigint | null
  DocumentName: string
  DocumentType: string
  Uri: string
  Url: string
  /** 0 under way, 1 in use, 2 failed, 3 stopped. */
  Status: number | null
  DocTreeTosUrl: string | null
  PreviewTosUrl: string | null
}

/** An event with every field that Go writes, in its order. */
export function knowledgeEvent(type: KnowledgeEventType, parts: Partial<Omit<KnowledgeEvent, 'Type'>>): KnowledgeEvent {
  return {
    Type: type,
    Documents: parts.Documents ?? null,
    Document: parts.Document ?? null,
    Slice: parts.Slice ?? null,
    SliceIDs: parts.SliceIDs ?? null,
    KnowledgeID: parts.KnowledgeID ?? 0n,
    DocumentReview: parts.DocumentReview ?? null,
  }
}

/** Typed, with exact ids: subscribe to it and publish to it like to any definition. */
export const knowledgeJobs = topic(knowledgeTopic, {
  codec: cozeCodec,
  schema: eventSchema<KnowledgeEvent>({ Type: 'string', KnowledgeID: 'bigint' }),
})
